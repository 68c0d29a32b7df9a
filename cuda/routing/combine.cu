#include "combine.cuh"

namespace moe {
namespace {

/// One block a token.
template <class T>
__global__ void __launch_bounds__(kCombineThreads)
    combine(const __grid_constant__ CombineArgs<T> args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  combine_row(args, t, reinterpret_cast<float*>(shared_memory()), [&](int h, const Quad& quad) {
    store_quad(args.out[t], h, args.H, args.whole, quad);
  });
}

}  // namespace

void Combine::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(expert_out.dtype, kName, [&](auto tag) {
    const auto args = combine_args<decltype(tag)>(*this);
    cuda.launch(combine<decltype(tag)>, blocks_for(weights.dim(0), 1), kCombineThreads,
                sizeof(float) * args.scratch(), args);
  });
}

}  // namespace moe
