#include "device/rows.cuh"
#include "ops/causal_pair.h"

namespace moe {
namespace {

constexpr int kBlock = static_cast<int>(kBlockTokens), kFewTokens = 8;

template <class T>
struct PairArgs {
  Rows<const T> x;
  Rows<T> state;
  const int32_t *positions, *slots, *sequences;
  Rows<const int32_t> block_table;
  int tokens, width;
  bool whole;  // see in_quads()
  Rows<T> out;

  /// Whether the row before token t's is token t - 1's.
  __device__ bool follows(int t) const { return t > 0 && sequences[t - 1] == sequences[t]; }

  /// Values h to h + 3 that the sequence remembers of the token before t; zero before the first.
  __device__ Quad remembered(int t, int h) const {
    if (positions[t] == 0) return {};
    const int block = block_table[sequences[t]][(positions[t] - 1) / kBlock];
    return load_quad<T>(state[block], h, width, whole);
  }

  __device__ void store(int t, int h, const Quad& before, const Quad& own) const {
    const Quad low{before.v[0], own.v[0], before.v[1], own.v[1]};
    const Quad high{before.v[2], own.v[2], before.v[3], own.v[3]};
    store_quad(out[t], 2 * h, 2 * width, whole, low);
    store_quad(out[t], 2 * h + 4, 2 * width, whole, high);
  }

  /// Whether token t is the last of its cache block here, which is what the block remembers.
  __device__ bool is_last(int t) const {
    return t + 1 == tokens || sequences[t + 1] != sequences[t] ||
           slots[t + 1] / kBlock != slots[t] / kBlock;
  }
  __device__ void remember(int t, int h, const Quad& own) const {
    store_quad(state[slots[t] / kBlock], h, width, whole, own);
  }
};

/// Few tokens: a thread has a quad of every row, and reads all before it writes.
template <class T>
__global__ void pair_few(const PairArgs<T> args) {
  wait_prior_grid();
  launch_dependents();
  const int h = 4 * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (h >= args.width) return;
  Quad own[kFewTokens], before[kFewTokens];
#pragma unroll
  for (int t = 0; t < kFewTokens; ++t)
    if (t < args.tokens) own[t] = load_quad(args.x[t], h, args.width, args.whole);
#pragma unroll
  for (int t = 0; t < kFewTokens; ++t)
    if (t < args.tokens) before[t] = args.follows(t) ? own[t - 1] : args.remembered(t, h);
#pragma unroll
  for (int t = 0; t < kFewTokens; ++t) {
    if (t >= args.tokens) return;
    args.store(t, h, before[t], own[t]);
    if (args.is_last(t)) args.remember(t, h, own[t]);
  }
}

/// One block a token.
template <class T>
__global__ void pair_rows(const PairArgs<T> args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  const bool follows = args.follows(t);
  for_quads(args.width, [&](int h) {
    const Quad own = load_quad(args.x[t], h, args.width, args.whole);
    args.store(
        t, h, follows ? load_quad(args.x[t - 1], h, args.width, args.whole) : args.remembered(t, h),
        own);
  });
}

/// After pair_rows: the first token of a chunk may have read the state of the block it writes to.
template <class T>
__global__ void save_state(const PairArgs<T> args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  if (!args.is_last(t)) return;
  for_quads(args.width,
            [&](int h) { args.remember(t, h, load_quad(args.x[t], h, args.width, args.whole)); });
}

}  // namespace

void CausalPair::run_cuda(const CudaContext& cuda) const {
  const auto T = static_cast<unsigned>(x.dim(0));
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    const PairArgs<Value> args{rows_of<const Value>(x),       rows_of<Value>(state),
                               positions.as<const int32_t>(), slots.as<const int32_t>(),
                               sequences.as<const int32_t>(), rows_of<const int32_t>(block_table),
                               static_cast<int>(T),           static_cast<int>(x.dim(1)),
                               in_quads(x, state, out),       rows_of<Value>(out)};
    if (T <= kFewTokens)
      return cuda.launch(pair_few<Value>, T ? blocks_for(args.width, 4 * 64) : 0, 64, 0, args);
    cuda.launch(pair_rows<Value>, T, 256, 0, args);
    cuda.launch(save_state<Value>, T, 256, 0, args);
  });
}

}  // namespace moe
