// Few tokens: every block norms them for itself, while its first weights are on their way.

#include "gemm_few.cuh"
#include "norm.cuh"
#include "ops/norm_linear.h"

namespace moe {
namespace {

/// Beyond it the blocks would read more than half as many bytes of x as of weights.
constexpr int kMostTokens = 4;
constexpr size_t kMostBytes = size_t{32} << 10;  // of the normed rows, in shared memory
constexpr int kRows = 8;                         // of a tile's sums

/// Grid: weight tiles.
template <class X, class W>
__global__ void __launch_bounds__(32 * kFewWarps, 2)
    norm_linear_few(const __grid_constant__ GemmArgs args, const NormArgs norm, Rows<X> normed,
                    Rows<float> exact) {
  constexpr bool kMatrix = sizeof(X) == 2;
  static_assert(32 * kFewWarps == kNormThreads);
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][8]; also of the norm
  auto* rows = reinterpret_cast<X*>(sums + kFewWarps * kTileRows * kRows);  // [T, H]
  const int tile = static_cast<int>(blockIdx.x), H = norm.H;
  const Steps piece = warp_steps(args.steps);
  WeightStream<W> stream(weight_tile<W>(args.weights[0], tile, args.steps), piece);
  stream.start();
  wait_for_grid();
  release_grid();
  norm_rows(norm, 0, args.rows, sums, [&](int t, int h, const Quad& quad) {
    store_quad(rows + t * H, h, H, norm.whole, quad);
    if (tile != 0) return;
    store_quad(normed[t], h, H, norm.whole, quad);
    if (exact.data) store_quad(exact[t], h, H, norm.whole, quad);
  });
  __syncthreads();
  float acc[kMatrix ? 1 : 8][4] = {};
  const auto row_of = [&](int n) { return rows + n * H; };
  multiply<X, W, 1>(stream, piece.first, H, H % kStepK == 0, args.rows, row_of, acc);
  store_sums<kMatrix, kRows>(args, tile, 0, args.rows, acc, sums);
}

}  // namespace

void NormLinear::run_cuda(const CudaContext& cuda) const {
  const int64_t T = x.dim(0), H = x.dim(1);
  const size_t bytes = static_cast<size_t>(T * H) * dtype_bytes(normed.dtype);
  if (T == 0 || T > kMostTokens || bytes > kMostBytes) {
    norm().run_cuda(cuda);
    return linear().run_cuda(cuda);
  }
  const GemmArgs args = gemm_args({normed, {}, nullptr, &weight, 1, {}, {}, Activation::none, out});
  const NormArgs norm{rows_of<const float>(x), norm_weight.as<const float>(), eps,
                      static_cast<int>(H), in_quads(x, norm_weight, normed, exact)};
  dispatch_activation(normed.dtype, kName, [&](auto x_tag) {
    dispatch_activation(weight.dtype, kName, [&](auto weight_tag) {
      using X = decltype(x_tag);
      cuda.launch(norm_linear_few<X, decltype(weight_tag)>, weight_tiles(args), 32 * kFewWarps,
                  sizeof(float) * kFewWarps * kTileRows * kRows + bytes, args, norm,
                  rows_of<X>(normed), rows_of<float>(exact));
    });
  });
}

}  // namespace moe
