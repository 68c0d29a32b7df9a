#include "rope_cache.cuh"

namespace moe {
namespace {

constexpr int kTokens = static_cast<int>(kBlockTokens), kFewTokens = 8, kWarps = 8;

template <class T>
__device__ void rotate_query(const RopeArgs<T>& args, int t, int n, int thread, int threads) {
  for (int j = thread; j < args.rotary / 2; j += threads) args.rotate_query(t, n, j);
}

/// Few tokens: one block for a head of a token, N query heads, then G key heads with their values.
template <class T>
__global__ void rope_few(const RopeArgs<T> args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  if (head < args.N) return rotate_query(args, t, head, thread, threads);
  const int g = head - args.N;
  for (int j = thread; j < args.D; j += threads) args.store_key(args.k[t] + g * args.D, t, g, j);
  for (int j = thread; j < args.V; j += threads) args.store_value(t, g, j);
}

/// Many tokens: one block for a head of 32 tokens. Keys lie side by side by token, so lanes have
/// tokens there; elsewhere they have columns.
template <class T>
__global__ void __launch_bounds__(32 * kWarps) rope_many(const RopeArgs<T> args, int tokens) {
  wait_prior_grid();
  launch_dependents();
  const int first = static_cast<int>(blockIdx.x) * kTokens, head = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int g = head - args.N;
  for (int t = first + warp; t < min(first + kTokens, tokens); t += kWarps) {
    if (g < 0) rotate_query(args, t, head, lane, 32);
    for (int j = lane; g >= 0 && j < args.V; j += 32) args.store_value(t, g, j);
  }
  if (g >= 0 && first + lane < tokens)
    for (int j = warp; j < args.D; j += kWarps)
      args.store_key(args.k[first + lane] + g * args.D, first + lane, g, j);
}

}  // namespace

void RopeCache::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(keys.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const auto args = rope_args<Value>(*this);
    const auto heads = static_cast<unsigned>(args.N + args.G);
    const auto tokens = static_cast<int>(q.dim(0));
    if (tokens <= kFewTokens)
      return cuda.launch(rope_few<Value>, {blocks_for(tokens, 1), heads}, 64, 0, args);
    cuda.launch(rope_many<Value>, {blocks_for(tokens, kTokens), heads}, 32 * kWarps, 0, args,
                tokens);
  });
}

}  // namespace moe
