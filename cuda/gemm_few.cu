// Few rows of x: every weight is read once, straight from memory into the registers of the lane
// that multiplies it, and bandwidth is all that counts. A block owns one tile of 16 weight rows of
// one group.

#include "gemm_few.cuh"

namespace moe {
namespace {

/// Grid: weight tiles, groups.
template <class X, class W, int NT>
__global__ void __launch_bounds__(32 * kFewWarps, 2)
    gemm_few_rows(const __grid_constant__ GemmArgs args) {
  constexpr bool kMatrix = sizeof(X) == 2 && sizeof(W) == 2;
  constexpr int kRows = kMatrix ? 8 * NT : 8;              // of x at a time
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][kRows]
  const int tile = static_cast<int>(blockIdx.x), group = static_cast<int>(blockIdx.y);
  const W* weights = weight_tile<W>(args.weights[group], tile, args.steps);
  const Steps steps = warp_steps(args.steps);
  wait_for_grid();
  release_grid();
  const RowRange range = group_rows(args, group);
  for (int begin = range.begin; begin < range.end; begin += kRows) {
    const auto row_of = [&](int n) {
      return begin + n < range.end ? static_cast<const X*>(args.x) + (begin + n) * args.x_stride
                                   : nullptr;
    };
    float acc[kMatrix ? NT : 8][4] = {};
    const int tiles = min(NT, (range.end - begin + 7) / 8);
    multiply<X, W, NT>(weights, steps, args.K, args.x_aligned, tiles, row_of, acc);
    __syncthreads();  // the sums of the rows before have been read
    put_sums<kMatrix, kRows>(acc, sums + threadIdx.x / 32 * kTileRows * kRows);
    __syncthreads();
    const bool swiglu = args.activation == Activation::swiglu;
    const int outputs = swiglu ? kTileRows / 2 : kTileRows;
    const int count = min(kRows, range.end - begin);
    for (int i = static_cast<int>(threadIdx.x); i < outputs * count; i += 32 * kFewWarps) {
      const int r = i % outputs, n = i / outputs;
      store_output(args, begin + n, tile * outputs + r, total_of<kRows>(sums, r, n),
                   swiglu ? total_of<kRows>(sums, r + 8, n) : 0.f);
    }
  }
}

}  // namespace

void gemm_few(const CudaContext& cuda, const GemmArgs& args, DType x, DType weight) {
  const dim3 grid(static_cast<unsigned>(4 * args.panels), static_cast<unsigned>(args.groups));
  const auto launch = [&](auto kernel, int rows) {
    cuda.launch(kernel, grid, 32 * kFewWarps,
                sizeof(float) * static_cast<size_t>(kFewWarps * kTileRows * rows), args);
  };
  if (x == DType::f32 && weight == DType::f32) return launch(gemm_few_rows<float, float, 1>, 8);
  if (x == DType::f32) return launch(gemm_few_rows<float, bf16, 1>, 8);
  if (weight == DType::f32) return launch(gemm_few_rows<bf16, float, 1>, 8);
  if (args.rows <= 8) return launch(gemm_few_rows<bf16, bf16, 1>, 8);
  if (args.rows <= 16) return launch(gemm_few_rows<bf16, bf16, 2>, 16);
  launch(gemm_few_rows<bf16, bf16, 4>, 32);
}

}  // namespace moe
