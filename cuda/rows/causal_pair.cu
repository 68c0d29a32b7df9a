#include "causal_pair.cuh"

namespace moe {
namespace {

constexpr int kFewTokens = 8;

/// Few tokens: a thread has a quad of every row, and reads all before it writes.
template <class T>
__global__ void pair_few(const PairArgs<T> args, Rows<T> out) {
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
    args.store(out[t], h, before[t], own[t]);
    if (args.is_last(t)) args.remember(t, h, own[t]);
  }
}

/// One block a token.
template <class T>
__global__ void pair_rows(const PairArgs<T> args, Rows<T> out) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  const bool follows = args.follows(t);
  for_quads(args.width, [&](int h) {
    const Quad own = load_quad(args.x[t], h, args.width, args.whole);
    args.store(
        out[t], h,
        follows ? load_quad(args.x[t - 1], h, args.width, args.whole) : args.remembered(t, h), own);
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
    const auto args = pair_args<Value>(*this);
    if (T <= kFewTokens)
      return cuda.launch(pair_few<Value>, T ? blocks_for(args.width, 4 * 64) : 0, 64, 0, args,
                         rows_of<Value>(out));
    cuda.launch(pair_rows<Value>, T, 256, 0, args, rows_of<Value>(out));
    cuda.launch(save_state<Value>, T, 256, 0, args);
  });
}

}  // namespace moe
