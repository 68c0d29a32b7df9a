// Few rows of x: every weight is read once, straight from memory into the registers of the lane that
// multiplies it, and bandwidth is all that counts.
//
// A block owns one tile of 16 weight rows of one group; its warps split K in fixed pieces and add up
// in a fixed order. bf16 by bf16 goes through mma.sync with rows of x as n; other dtypes through f32
// multiply-adds on the same fragments, so f32 activations are true f32.

#include "gemm.cuh"

namespace moe {
namespace {

constexpr int kWarps = 8;

/// Two neighbouring values of a row of x, zero outside of [0, K).
template <class X>
__device__ __forceinline__ float2 load_pair(const X* row, int k, int K) {
  return {row && k < K ? to_float(row[k]) : 0.f, row && k + 1 < K ? to_float(row[k + 1]) : 0.f};
}

__device__ __forceinline__ uint32_t load_bits(const bf16* row, int k, int K, bool aligned) {
  if (!row) return 0;
  if (aligned && k + 1 < K) return *reinterpret_cast<const uint32_t*>(row + k);
  return (k < K ? row[k].bits : 0u) | (k + 1 < K ? uint32_t{row[k + 1].bits} << 16 : 0u);
}

/// A lane's eight weights of a tile.
template <class W>
struct Weights;
template <>
struct Weights<bf16> {
  uint4 bits;
  __device__ __forceinline__ void load(const bf16* from) {
    bits = load_stream(reinterpret_cast<const uint4*>(from));
  }
  __device__ __forceinline__ float operator[](int i) const {
    const uint32_t word = i / 2 == 0 ? bits.x : i / 2 == 1 ? bits.y : i / 2 == 2 ? bits.z : bits.w;
    return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
  }
};
template <>
struct Weights<float> {
  uint4 bits[2];
  __device__ __forceinline__ void load(const float* from) {
    bits[0] = load_stream(reinterpret_cast<const uint4*>(from));
    bits[1] = load_stream(reinterpret_cast<const uint4*>(from) + 1);
  }
  __device__ __forceinline__ float operator[](int i) const {
    const uint4& half = bits[i / 4];
    const uint32_t word = i % 4 == 0 ? half.x : i % 4 == 1 ? half.y : i % 4 == 2 ? half.z : half.w;
    return __uint_as_float(word);
  }
};

/// Matrices: sums of NT tiles of 8 rows of x, acc[tile] as mma.m16n8k16 has c. Other dtypes: of 8
/// rows of x, acc[n] has the lane's share of weight rows g and g + 8. `row_of(n)` is row n or null.
template <class X, class W, int NT, class RowOf, int Sums>
__device__ __forceinline__ void multiply(const GemmArgs& args, const W* weights, int first_step,
                                         int last_step, int tiles, const RowOf& row_of,
                                         float (&acc)[Sums][4]) {
  constexpr int kUnroll = 4;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  constexpr bool kMatrix = sizeof(X) == 2 && sizeof(W) == 2;
  const X* rows[NT];  // for the matrices: row g of each tile
  for (int i = 0; i < NT; ++i) rows[i] = row_of(8 * i + g);
  for (int step = first_step; step < last_step; step += kUnroll) {
    Weights<W> w[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (step + u < last_step)
        w[u].load(weights + int64_t{step + u} * 4 * kTileValues + lane * FragmentGrid::kLaneValues);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (step + u >= last_step) break;
      const int k = (step + u) * kStepK + 2 * t;
      if constexpr (kMatrix) {
        const uint32_t a[4] = {w[u].bits.x, w[u].bits.y, w[u].bits.z, w[u].bits.w};
#pragma unroll
        for (int i = 0; i < NT; ++i) {
          if (i >= tiles) break;
          const uint32_t b[2] = {load_bits(rows[i], k, args.K, args.x_aligned),
                                 load_bits(rows[i], k + 8, args.K, args.x_aligned)};
          mma_bf16(acc[i], a, b);
        }
      } else {
        // Lane (g, t) multiplies its k of rows g and g + 8 with all rows of x; t is summed later.
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const X* row = row_of(n);
          if (!row) break;
          const float2 low = load_pair(row, k, args.K), high = load_pair(row, k + 8, args.K);
          acc[n][0] += w[u][0] * low.x + w[u][1] * low.y + w[u][4] * high.x + w[u][5] * high.y;
          acc[n][1] += w[u][2] * low.x + w[u][3] * low.y + w[u][6] * high.x + w[u][7] * high.y;
        }
      }
    }
  }
}

/// Grid: weight tiles, groups.
template <class X, class W, int NT>
__global__ void __launch_bounds__(32 * kWarps, 2) gemm_few_rows(const __grid_constant__ GemmArgs args) {
  constexpr bool kMatrix = sizeof(X) == 2 && sizeof(W) == 2;
  constexpr int kRows = kMatrix ? 8 * NT : 8;  // of x at a time
  auto* sums = reinterpret_cast<float*>(shared_memory());  // [warps][16][kRows]
  const int tile = static_cast<int>(blockIdx.x), group = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int g = lane / 4, t = lane % 4;
  const auto* weights = static_cast<const W*>(args.weights[group]) +
                        int64_t{tile / 4} * args.steps * 4 * kTileValues + tile % 4 * kTileValues;
  const int per_warp = (args.steps + kWarps - 1) / kWarps;
  const int first = min(warp * per_warp, args.steps), last = min(first + per_warp, args.steps);
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
    multiply<X, W, NT>(args, weights, first, last, tiles, row_of, acc);
    __syncthreads();  // the sums of the rows before have been read
    float* own = sums + warp * kTileRows * kRows;
    if constexpr (kMatrix) {
#pragma unroll
      for (int i = 0; i < NT; ++i)
        for (int c = 0; c < 4; ++c)
          own[(g + c / 2 * 8) * kRows + 8 * i + 2 * t + c % 2] = acc[i][c];
    } else {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        for (int half = 0; half < 2; ++half) {
          float sum = acc[n][half];
          sum += __shfl_xor_sync(~0u, sum, 1);
          sum += __shfl_xor_sync(~0u, sum, 2);
          if (t == 0) own[(g + 8 * half) * kRows + n] = sum;
        }
      }
    }
    __syncthreads();
    const bool swiglu = args.activation == Activation::swiglu;
    const int outputs = swiglu ? kTileRows / 2 : kTileRows;
    const int count = min(kRows, range.end - begin);
    for (int i = static_cast<int>(threadIdx.x); i < outputs * count; i += 32 * kWarps) {
      const int r = i % outputs, n = i / outputs;
      float sum = 0.f, up = 0.f;
      for (int w = 0; w < kWarps; ++w) {
        sum += sums[(w * kTileRows + r) * kRows + n];
        if (swiglu) up += sums[(w * kTileRows + r + 8) * kRows + n];
      }
      store_output(args, begin + n, tile * outputs + r, sum, up);
    }
  }
}

}  // namespace

void gemm_few(const CudaContext& cuda, const GemmArgs& args, DType x, DType weight) {
  const dim3 grid(static_cast<unsigned>(4 * args.panels), static_cast<unsigned>(args.groups));
  const auto launch = [&](auto kernel, int rows) {
    cuda.launch(kernel, grid, 32 * kWarps,
                sizeof(float) * static_cast<size_t>(kWarps * kTileRows * rows), args);
  };
  if (x == DType::f32 && weight == DType::f32) return launch(gemm_few_rows<float, float, 1>, 8);
  if (x == DType::f32) return launch(gemm_few_rows<float, bf16, 1>, 8);
  if (weight == DType::f32) return launch(gemm_few_rows<bf16, float, 1>, 8);
  if (args.rows <= 8) return launch(gemm_few_rows<bf16, bf16, 1>, 8);
  if (args.rows <= 16) return launch(gemm_few_rows<bf16, bf16, 2>, 16);
  launch(gemm_few_rows<bf16, bf16, 4>, 32);
}

}  // namespace moe
