// Few rows of x: every weight is read once, straight from memory into the registers of the lane
// that multiplies it, and bandwidth is all that counts. A block owns one tile of 16 weight rows of
// one group.

#include "gemm_few.cuh"

namespace moe {
namespace {

/// The `index`-th group that has rows, by offsets as `offset_of(pointer)` has them; -1: there are
/// fewer. Whole warps call it.
template <class OffsetOf>
__device__ __forceinline__ int group_with_rows(const GemmArgs& args, int index,
                                               const OffsetOf& offset_of) {
  for (int first = 0; first < args.groups; first += 32) {
    const int group = first + static_cast<int>(threadIdx.x % 32);
    const int32_t* at = args.offsets + group;
    const bool has = group < args.groups && offset_of(at) < offset_of(at + 1);
    uint32_t found = __ballot_sync(~0u, has);
    for (; found && index > 0; --index) found &= found - 1;
    if (found) return first + __ffs(static_cast<int>(found)) - 1;
  }
  return -1;
}

/// Grid: weight tiles, as many groups as can have rows, blocks that share a group's rows.
template <class X, class W, int NT>
__global__ void __launch_bounds__(32 * kFewWarps, is_bf16<X> ? 2 : 1)
    gemm_few_rows(const __grid_constant__ GemmArgs args) {
  constexpr bool kMatrix = is_bf16<X>;
  constexpr int kRows = kMatrix ? 8 * NT : 8;              // of x at a time
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][kRows]
  auto* tokens = reinterpret_cast<int*>(sums + kFewWarps * kTileRows * kRows);  // [kRows]
  const int tile = static_cast<int>(blockIdx.x);
  const Steps piece = warp_steps(args.grid.steps);
  const auto stream_of = [&](int group) {
    WeightStream<W> stream(args.grid, args.weights[group], tile, piece);
    stream.start();
    return stream;
  };
  // No kernel writes weights, so a group that is known need not wait for the kernel before. One
  // that is as good as known is taken, and looked at again behind the wait.
  const int index = static_cast<int>(blockIdx.y);
  int group = index;
  if (args.offsets)
    group = args.settled
                ? group_with_rows(args, index, [](const int32_t* at) { return load_guess(at); })
                : -1;
  WeightStream<W> stream =
      group < 0 ? WeightStream<W>(args.grid, nullptr, 0, {0, 0}) : stream_of(group);
  if (group >= 0 && blockIdx.z == 0)
    prefetch_waves(args, args.weights[group], tile, index * static_cast<int>(gridDim.x));
  wait_prior_grid();
  launch_dependents();
  if (args.offsets) {
    const int guess = group;
    group = group_with_rows(args, index, [](const int32_t* at) { return *at; });
    if (group < 0) return;
    if (group != guess) stream = stream_of(group);
  }
  const RowRange range = group_rows(args, group);
  const bool whole = args.x_aligned && args.K % kStepK == 0;
  const int first = range.begin + static_cast<int>(blockIdx.z) * kRows;
  const int stride = static_cast<int>(gridDim.z) * kRows;
  for (int begin = first; begin < range.end; begin += stride) {
    if (begin > first) stream.start();
    if (args.gather) {
      for (int slot = static_cast<int>(threadIdx.x); slot < args.rows; slot += 32 * kFewWarps) {
        const int n = args.gather[slot] - begin;
        if (n >= 0 && n < kRows) tokens[n] = slot / args.per_token;
      }
      __syncthreads();
    }
    const auto row_of = [&](int n) {
      const int64_t row = args.gather ? tokens[n] : begin + n;
      return static_cast<const X*>(args.x) + x_row(args, row);
    };
    float acc[kMatrix ? NT : 8][4] = {};
    const int count = min(kRows, range.end - begin);
    multiply<X, W, NT>(stream, piece.first, args.K, whole, count, row_of, acc);
    store_sums<kMatrix, kRows>(args, bias_of(args, group), tile, begin, count, acc, sums);
  }
}

}  // namespace

void gemm_few(const CudaContext& cuda, GemmArgs args, DType x, WeightFormat weight) {
  args.first_wave = first_wave(cuda);
  const auto launch = [&](auto kernel, int rows) {
    dim3 grid(weight_tiles(args), static_cast<unsigned>(std::min(args.groups, args.rows)));
    // Few outputs of many rows, as routers have them: as many blocks as fill the GPU.
    const unsigned enough = blocks_for(4 * cuda.multiprocessors, grid.x);
    if (args.groups == 1) grid.z = std::min(blocks_for(args.rows, rows), enough);
    cuda.launch(kernel, grid, 32 * kFewWarps,
                sizeof(float) * static_cast<size_t>((kFewWarps * kTileRows + 1) * rows), args);
  };
  dispatch_weights(weight, [&](auto tag) {
    using W = decltype(tag);
    if (x == DType::f32) return launch(gemm_few_rows<float, W, 1>, 8);
    if (args.rows <= 8) return launch(gemm_few_rows<bf16, W, 1>, 8);
    launch(gemm_few_rows<bf16, W, 4>, 32);
  });
}

}  // namespace moe
