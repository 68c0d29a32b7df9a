// Few tokens: every block combines and norms them for itself, while its first weights are on their
// way.

#include "fused/norm_linear.h"
#include "gemm/gemm_few.cuh"
#include "norm/norm.cuh"
#include "routing/combine.cuh"

namespace moe {
namespace {

constexpr size_t kMostBytes = size_t{32} << 10;  // of the normed rows, in shared memory
constexpr int kRows = 8;                         // of a tile's sums
constexpr int kSums = kFewWarps * kTileRows * kRows;

/// Grid: weight tiles. `combine.out` without data: nothing is combined.
template <class X, class W>
__global__ void __launch_bounds__(32 * kFewWarps, 2)
    norm_linear_few(const __grid_constant__ GemmArgs args,
                    const __grid_constant__ NormArgs<float> norm_of,
                    const __grid_constant__ CombineArgs<X> combine, Rows<X> normed,
                    Rows<float> exact) {
  constexpr bool kMatrix = is_bf16<X>;
  static_assert(32 * kFewWarps == kNormThreads && 32 * kFewWarps == kCombineThreads);
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][8]; first for scratch
  auto* rows = reinterpret_cast<X*>(sums + kSums);         // [T, H]
  const int tile = static_cast<int>(blockIdx.x), H = norm_of.H, T = args.rows;
  const Steps piece = warp_steps(args.grid.steps);
  WeightStream<W> stream(args.grid, args.weights[0], tile, piece);
  stream.start();
  prefetch_waves(args, args.weights[0], tile, 0);
  if (tile == 0) prefetch_norm(norm_of);
  wait_prior_grid();
  launch_dependents();
  NormArgs<float> norm = norm_of;
  if (combine.out.data) {
    auto* combined = reinterpret_cast<float*>(rows + T * H);  // [T, H]; a thread reads its own only
    for (int t = 0; t < T; ++t)
      combine_row(combine, t, sums, [&](int h, const Quad& quad) {
        store_quad(combined + t * H, h, H, norm.whole, quad);
        if (tile == 0) store_quad(combine.out[t], h, H, combine.whole, quad);
      });
    norm.x = {combined, H};
    __syncthreads();  // the scratch is the norm's now
  }
  norm_rows(norm, 0, T, sums, [&](int t, int h, const Quad& quad) {
    store_quad(rows + t * H, h, H, norm.whole, quad);
    if (tile != 0) return;
    store_quad(normed[t], h, H, norm.whole, quad);
    if (exact.data) store_quad(exact[t], h, H, norm.whole, quad);
  });
  __syncthreads();
  float acc[kMatrix ? 1 : 8][4] = {};
  const auto row_of = [&](int n) { return rows + n * H; };
  multiply<X, W, 1>(stream, piece.first, H, H % kStepK == 0, T, row_of, acc);
  store_sums<kMatrix, kRows>(args, args.bias, tile, 0, T, acc, sums);
}

}  // namespace

void NormLinear::run_cuda(const CudaContext& cuda) const {
  const int64_t T = norm.x.dim(0), H = norm.x.dim(1);
  const auto values = static_cast<size_t>(T * H);
  const size_t bytes = values * dtype_bytes(norm.out.dtype);
  const size_t shared =
      sizeof(float) * kSums + bytes + (combine ? values * sizeof(float) : size_t{0});
  const size_t constants = combine && combine->constants ? combine->constants.dim(0) : 0;
  if (T == 0 || T > kFewTokens || bytes > kMostBytes || 33 + constants > kSums ||
      shared > cuda.shared_bytes) {
    if (combine) combine->run_cuda(cuda);
    norm.run_cuda(cuda);
    return linear.run_cuda(cuda);
  }
  GemmArgs args = gemm_args(linear);
  args.first_wave = first_wave(cuda);
  const NormArgs<float> rows{rows_of<const float>(norm.x), norm.weight.as<const float>(), norm.eps,
                             static_cast<int>(H),
                             in_quads(norm.x, norm.weight, norm.out, norm.exact)};
  dispatch_activation(norm.out.dtype, kName, [&](auto x_tag) {
    dispatch_weights(linear.weight.format, [&](auto weight_tag) {
      using X = decltype(x_tag);
      using W = decltype(weight_tag);
      cuda.launch(norm_linear_few<X, W>, weight_tiles(args), 32 * kFewWarps, shared, args, rows,
                  combine ? combine_args<X>(*combine) : CombineArgs<X>{}, rows_of<X>(norm.out),
                  rows_of<float>(norm.exact));
    });
  });
}

}  // namespace moe
