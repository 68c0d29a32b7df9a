#include "routing.cuh"

namespace moe {
namespace {

/// One warp a token; the last block then places the slots of all.
template <int V, int Warps>
__global__ void __launch_bounds__(32 * Warps, 1)
    top_k_rows(const __grid_constant__ TopKArgs args, unsigned* counter) {
  auto* shared = reinterpret_cast<int*>(shared_memory());
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32);
  if (t < args.T) choose<V>(args, t, args.logits[t], args.ids[t], args.weights[t]);
  if (!is_last(counter, gridDim.x, shared)) return;
  place(
      args, [&](int slot) { return args.ids[slot / args.K][slot % args.K]; }, shared + 1);
}

}  // namespace

void TopK::run_cuda(const CudaContext& cuda) const {
  const TopKArgs args = top_k_args(*this);
  const auto launch = [&](auto kernel, int most_warps) {
    const int warps = std::clamp(args.T, 1, most_warps);
    cuda.launch(kernel, blocks_for(std::max(args.T, 1), warps), 32u * static_cast<unsigned>(warps),
                sizeof(int) + place_bytes(args, warps), args, cuda.counters);
  };
  if (args.E <= 32) return launch(top_k_rows<1, 32>, 32);
  if (args.E <= 128) return launch(top_k_rows<4, 16>, 16);
  launch(top_k_rows<32, 8>, 8);
}

}  // namespace moe
