// Few tokens: every block puts the pairs together for itself, while its first weights are on their
// way.

#include "fused/pair_linear.h"
#include "gemm/gemm_few.cuh"
#include "rows/causal_pair.cuh"

namespace moe {
namespace {

constexpr int kRows = 8;               // of a tile's sums
constexpr int kWarps = kFewWarps + 1;  // the last one has no piece of K and sees to the state
constexpr int kSums = kWarps * kTileRows * kRows;

/// By one warp of each block, when the block's pairs [T, 2C] are in shared memory: the block that
/// comes last writes what is remembered of them, since no other reads what was remembered any more.
template <class X>
__device__ __forceinline__ void remember_last(const PairArgs<X>& args, const X* pairs,
                                              unsigned* counter) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  bool last = false;
  if (lane == 0) {
    __threadfence();
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
    if (last) {
      __threadfence();
      *counter = 0;
    }
  }
  if (!__ballot_sync(~0u, last)) return;
  __syncwarp();
  for (int t = 0; t < args.tokens; ++t) {
    if (!args.is_last(t)) continue;
    for (int h = 4 * lane; h < args.width; h += 4 * 32)
      args.remember(t, h, args.own_of(pairs + t * 2 * args.width, h));
  }
}

/// Grid: weight tiles.
template <class X, class W>
__global__ void __launch_bounds__(32 * kWarps, 2)
    pair_linear_few(const __grid_constant__ GemmArgs args, const __grid_constant__ PairArgs<X> pair,
                    unsigned* counter) {
  constexpr bool kMatrix = is_bf16<X>;
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][8]
  auto* pairs = reinterpret_cast<X*>(sums + kSums);        // [T, 2C]
  const int tile = static_cast<int>(blockIdx.x), T = pair.tokens, K = 2 * pair.width;
  const Steps piece = warp_steps(args.grid.steps);
  WeightStream<W> stream(args.grid, args.weights[0], tile, piece);
  stream.start();
  prefetch_waves(args, args.weights[0], tile, 0);
  wait_prior_grid();
  launch_dependents();
  for (int t = 0; t < T; ++t) {
    const bool follows = pair.follows(t);
    for_quads(pair.width, [&](int h) {
      const Quad before =
          follows ? load_quad(pair.x[t - 1], h, pair.width, pair.whole) : pair.remembered(t, h);
      pair.store(pairs + t * K, h, before, load_quad(pair.x[t], h, pair.width, pair.whole));
    });
  }
  __syncthreads();
  if (threadIdx.x >= 32 * kFewWarps) remember_last(pair, pairs, counter);
  float acc[kMatrix ? 1 : 8][4] = {};
  const auto row_of = [&](int n) { return pairs + n * K; };
  multiply<X, W, 1>(stream, piece.first, K, K % kStepK == 0, T, row_of, acc);
  store_sums<kMatrix, kRows>(args, args.bias, tile, 0, T, acc, sums);
}

}  // namespace

void PairLinear::run_cuda(const CudaContext& cuda) const {
  const int64_t T = pair.x.dim(0), K = 2 * pair.x.dim(1);
  if (T == 0) return;
  GemmArgs args = gemm_args(linear);
  args.first_wave = first_wave(cuda);
  const size_t shared =
      sizeof(float) * kSums + static_cast<size_t>(T * K) * dtype_bytes(pair.x.dtype);
  dispatch_activation(pair.x.dtype, kName, [&](auto x_tag) {
    dispatch_activation(dense_dtype(linear.weight.format), kName, [&](auto weight_tag) {
      using X = decltype(x_tag);
      cuda.launch(pair_linear_few<X, decltype(weight_tag)>, weight_tiles(args), 32 * kWarps, shared,
                  args, pair_args<X>(pair), cuda.counters);
    });
  });
}

}  // namespace moe
