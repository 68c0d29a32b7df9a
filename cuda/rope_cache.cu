#include "rope_cache.cuh"

namespace moe {
namespace {

/// One block for a head of a token: N query heads, then G key heads with their values.
template <class T>
__global__ void rope_cache(const RopeArgs<T> args) {
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  if (head < args.N) {
    T* at = args.q[t] + head * args.D;
    const int half = args.rotary / 2;
    // In place: one thread has both values of a pair.
    for (int j = thread; j < half; j += threads) {
      const T first = args.rotated(at, t, j), second = args.rotated(at, t, j + half);
      at[j] = first;
      at[j + half] = second;
    }
    return;
  }
  for (int j = thread; j < args.D; j += threads) args.store(t, head - args.N, j);
}

}  // namespace

void RopeCache::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(keys.dtype, kName, [&](auto tag) {
    const auto args = rope_args<decltype(tag)>(*this);
    cuda.launch(rope_cache<decltype(tag)>,
                {blocks_for(q.dim(0), 1), static_cast<unsigned>(args.N + args.G)}, 64, 0, args);
  });
}

}  // namespace moe
