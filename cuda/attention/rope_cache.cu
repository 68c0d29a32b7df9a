#include "rope_cache.cuh"

namespace moe {
namespace {

constexpr int kTokens = static_cast<int>(kBlockTokens), kFewTokens = 8, kWarps = 8;
constexpr int kPiece = 256;  // dimensions of a key at a time

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

/// Values of a key's dimension in shared memory, of 32 tokens: an odd number of words, so that
/// neither rows nor columns meet in a bank.
template <class T>
constexpr int kPitch = kTokens + 4 / static_cast<int>(sizeof(T));

/// Many tokens: one block for a head of 32 tokens. Lanes have columns where they read; in the cache
/// keys lie side by side by token, so there they have tokens.
template <class T>
__global__ void __launch_bounds__(32 * kWarps) rope_many(const RopeArgs<T> args, int tokens) {
  wait_prior_grid();
  launch_dependents();
  const int first = static_cast<int>(blockIdx.x) * kTokens, head = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int g = head - args.N;
  auto* turned = reinterpret_cast<T*>(shared_memory());  // [kPiece, pitch], of keys
  const int last = min(first + kTokens, tokens);
  for (int t = first + warp; t < last; t += kWarps) {
    if (g < 0) rotate_query(args, t, head, lane, 32);
    for (int j = lane; g >= 0 && j < args.V; j += 32) args.store_value(t, g, j);
  }
  for (int begin = 0; g >= 0 && begin < args.D; begin += kPiece) {
    const int end = min(begin + kPiece, args.D);
    for (int t = first + warp; t < last; t += kWarps)
      for (int j = begin + lane; j < end; j += 32)
        turned[(j - begin) * kPitch<T> + t - first] = args.rotated(args.k[t] + g * args.D, t, j);
    __syncthreads();
    for (int j = begin + warp; first + lane < tokens && j < end; j += kWarps)
      args.put_key(turned[(j - begin) * kPitch<T> + lane], first + lane, g, j);
    __syncthreads();  // before the next piece
  }
}

}  // namespace

void RopeCache::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(keys.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const auto args = rope_args<Value>(*this);
    const auto heads = static_cast<unsigned>(args.N + args.G);
    const auto tokens = static_cast<int>(k.dim(0));
    if (tokens <= kFewTokens)
      return cuda.launch(rope_few<Value>, {blocks_for(tokens, 1), heads}, 64, 0, args);
    const size_t shared = sizeof(Value) * std::min(args.D, kPiece) * kPitch<Value>;
    cuda.launch(rope_many<Value>, {blocks_for(tokens, kTokens), heads}, 32 * kWarps, shared, args,
                tokens);
  });
}

}  // namespace moe
