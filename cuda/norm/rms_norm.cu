#include "norm.cuh"
#include "ops/rms_norm.h"

namespace moe {
namespace {

/// One block a token.
template <class X, class T>
__global__ void __launch_bounds__(kNormThreads)
    rms_norm(const NormArgs<X> args, Rows<T> out, Rows<float> exact) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  auto* scratch = reinterpret_cast<float*>(shared_memory());
  norm_rows(args, t, 1, scratch, [&](int, int h, const Quad& quad) {
    store_quad(out[t], h, args.H, args.whole, quad);
    if (exact.data) store_quad(exact[t], h, args.H, args.whole, quad);
  });
}

/// One warp a run of D values, of which a row has H / D.
template <class X, class T>
__global__ void __launch_bounds__(kNormThreads)
    rms_norm_runs(const NormArgs<X> args, int D, int64_t runs, Rows<T> out, Rows<float> exact) {
  wait_prior_grid();
  launch_dependents();
  const int64_t run = int64_t{blockIdx.x} * (kNormThreads / 32) + threadIdx.x / 32;
  if (run >= runs) return;
  const int64_t t = run / (args.H / D), first = run % (args.H / D) * D;
  norm_run(args.x[t] + first, args.weight, args.eps, D, args.whole, [&](int h, const Quad& quad) {
    store_quad(out[t] + first, h, D, args.whole, quad);
    if (exact.data) store_quad(exact[t] + first, h, D, args.whole, quad);
  });
}

}  // namespace

void RmsNorm::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto x_tag) {
    dispatch_activation(out.dtype, kName, [&](auto tag) {
      using X = decltype(x_tag);
      using T = decltype(tag);
      const NormArgs<X> args{rows_of<const X>(x), weight.as<const float>(), eps,
                             static_cast<int>(x.dim(1)), in_quads(x, weight, out, exact)};
      if (whole_rows())
        return cuda.launch(rms_norm<X, T>, blocks_for(x.dim(0), 1), kNormThreads,
                           sizeof(float) * norm_scratch(1), args, rows_of<T>(out),
                           rows_of<float>(exact));
      const int64_t D = weight.dim(0), runs = x.dim(0) * (x.dim(1) / D);
      cuda.launch(rms_norm_runs<X, T>, blocks_for(runs, kNormThreads / 32), kNormThreads, 0, args,
                  static_cast<int>(D), runs, rows_of<T>(out), rows_of<float>(exact));
    });
  });
}

}  // namespace moe
