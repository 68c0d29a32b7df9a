#include "norm.cuh"
#include "ops/rms_norm.h"

namespace moe {
namespace {

/// One block a token.
template <class T>
__global__ void __launch_bounds__(kNormThreads)
    rms_norm(const NormArgs args, Rows<T> out, Rows<float> exact) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  norm_rows(args, t, 1, scratch, [&](int, int h, const Quad& quad) {
    store_quad(out[t], h, args.H, args.whole, quad);
    if (exact.data) store_quad(exact[t], h, args.H, args.whole, quad);
  });
}

}  // namespace

void RmsNorm::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(out.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const NormArgs args{rows_of<const float>(x), weight.as<const float>(), eps,
                        static_cast<int>(x.dim(1)), in_quads(x, weight, out, exact)};
    cuda.launch(rms_norm<Value>, blocks_for(x.dim(0), 1), kNormThreads,
                sizeof(float) * norm_scratch(1), args, rows_of<Value>(out), rows_of<float>(exact));
  });
}

}  // namespace moe
