#pragma once
// Products of few rows of x with one tile of 16 packed weight rows, by one warp. bf16 activations
// go through mma.sync with rows of x as n, f32 weights in three bf16 parts that make up all of
// their bits; f32 activations through f32 multiply-adds on the same fragments, so they are true
// f32.

#include "gemm.cuh"

namespace moe {

constexpr int kFewWarps =
    8;  // of a block; they split K in fixed pieces and add up in a fixed order

/// The piece of K's steps that this warp has.
struct Steps {
  int first, last;
};
__device__ __forceinline__ Steps warp_steps(int steps) {
  const int per_warp = (steps + kFewWarps - 1) / kFewWarps;
  const int first = min(static_cast<int>(threadIdx.x / 32) * per_warp, steps);
  return {first, min(first + per_warp, steps)};
}

/// Two neighbouring values of a row of x, zero outside of [0, K).
template <class X>
__device__ __forceinline__ float2 load_pair(const X* row, int k, int K) {
  return {k < K ? to_float(row[k]) : 0.f, k + 1 < K ? to_float(row[k + 1]) : 0.f};
}

/// The same in one word; `whole`: it is one, and lies inside of K.
__device__ __forceinline__ uint32_t load_bits(const bf16* row, int k, int K, bool whole) {
  if (whole) return *reinterpret_cast<const uint32_t*>(row + k);
  return (k < K ? row[k].bits : 0u) | (k + 1 < K ? uint32_t{row[k + 1].bits} << 16 : 0u);
}

/// A lane's eight weights of a tile.
template <class W>
struct Weights;
template <>
struct Weights<bf16> {
  static constexpr int kParts = 1;
  uint4 bits;
  __device__ __forceinline__ void load(const bf16* from) {
    bits = load_stream(reinterpret_cast<const uint4*>(from));
  }
  __device__ __forceinline__ float operator[](int i) const {
    const uint32_t word = i / 2 == 0 ? bits.x : i / 2 == 1 ? bits.y : i / 2 == 2 ? bits.z : bits.w;
    return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
  }
  /// As a of mma.m16n8k16.
  __device__ __forceinline__ void parts(uint32_t (&a)[kParts][4]) const {
    a[0][0] = bits.x, a[0][1] = bits.y, a[0][2] = bits.z, a[0][3] = bits.w;
  }
};
template <>
struct Weights<float> {
  static constexpr int kParts = 3;
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
  /// The same in bf16 parts, each what the ones before have left over; together they are exact.
  __device__ __forceinline__ void parts(uint32_t (&a)[kParts][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float low = (*this)[2 * i], high = (*this)[2 * i + 1];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const uint32_t word = a[part][i] = narrow2(low, high);
        low -= __uint_as_float(word << 16);
        high -= __uint_as_float(word & 0xffff0000u);
      }
    }
  }
};

/// A warp's piece of a weight tile on its way from memory: the next kAhead steps are under way at
/// any time, since what bounds a kernel that only reads is how many bytes it has asked for.
template <class W>
struct WeightStream {
  static constexpr int kAhead = is_bf16<W> ? 8 : 4;
  const W* at;
  int steps;  // of the piece
  Weights<W> ahead[kAhead];

  /// `tile` is where the tile begins.
  __device__ __forceinline__ WeightStream(const W* tile, Steps piece)
      : at(tile + int64_t{piece.first} * 4 * kTileValues +
           static_cast<int>(threadIdx.x % 32) * FragmentGrid::kLaneValues),
        steps(piece.last - piece.first) {}

  __device__ __forceinline__ void load(int step, int slot) {
    if (step < steps) ahead[slot].load(at + int64_t{step} * 4 * kTileValues);
  }
  __device__ __forceinline__ void start() {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) load(u, u);
  }
};

/// Adds a lane's products of one step to its sum of a weight row: an order that leaves the compiler
/// no choice, as other kernels give these bits, too.
__device__ __forceinline__ float add_step(float sum, float w0, float w1, float w8, float w9,
                                          const float2& low, const float2& high) {
  return sum + fmaf(w9, high.y, fmaf(w8, high.x, fmaf(w1, low.y, w0 * low.x)));
}

/// Multiplies a started stream, which is at its end then. bf16: sums of NT tiles of 8 rows of x,
/// acc[tile] as mma.m16n8k16 has it. f32: of 8 rows of x, acc[n] has the lane's share of weight
/// rows g and g + 8. `row_of(n)` is row n of `count`; sums of others are of no use.
template <class X, class W, int NT, class RowOf, int Sums>
__device__ __forceinline__ void multiply(WeightStream<W>& stream, int first_step, int K, bool whole,
                                         int count, const RowOf& row_of, float (&acc)[Sums][4]) {
  constexpr int kAhead = WeightStream<W>::kAhead;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  constexpr bool kMatrix = is_bf16<X>;
  const X* rows[NT];  // for the matrices: row g of each tile
  for (int i = 0; i < NT; ++i) rows[i] = row_of(min(8 * i + g, count - 1));
  for (int step = 0; step < stream.steps; step += kAhead) {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (step + u >= stream.steps) break;
      const Weights<W> w = stream.ahead[u];
      stream.load(step + u + kAhead, u);
      const int k = (first_step + step + u) * kStepK + 2 * t;
      if constexpr (kMatrix) {
        uint32_t a[Weights<W>::kParts][4];
        w.parts(a);
#pragma unroll
        for (int i = 0; i < NT; ++i) {
          if (8 * i >= count) break;
          const uint32_t b[2] = {load_bits(rows[i], k, K, whole),
                                 load_bits(rows[i], k + 8, K, whole)};
#pragma unroll
          for (const auto& part : a) mma_bf16(acc[i], part, b);
        }
      } else {
        // Lane (g, t) multiplies its k of rows g and g + 8 with all rows of x; t is summed later.
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          if (n >= count) break;
          const X* row = row_of(n);
          const float2 low = load_pair(row, k, K), high = load_pair(row, k + 8, K);
          acc[n][0] = add_step(acc[n][0], w[0], w[1], w[4], w[5], low, high);
          acc[n][1] = add_step(acc[n][1], w[2], w[3], w[6], w[7], low, high);
        }
      }
    }
  }
}

/// Puts a warp's sums of its piece of K into `own` [16][kRows].
template <bool kMatrix, int kRows, int Sums>
__device__ __forceinline__ void put_sums(const float (&acc)[Sums][4], float* own) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  if constexpr (kMatrix) {
#pragma unroll
    for (int i = 0; i < Sums; ++i)
      for (int c = 0; c < 4; ++c) own[(g + c / 2 * 8) * kRows + 8 * i + 2 * t + c % 2] = acc[i][c];
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
}

/// Sum over the warps of weight row r and row n of x.
template <int kRows>
__device__ __forceinline__ float total_of(const float* sums, int r, int n) {
  float sum = 0.f;
  for (int w = 0; w < kFewWarps; ++w) sum += sums[(w * kTileRows + r) * kRows + n];
  return sum;
}

/// Adds up the warps' sums in `shared` [warps][16][kRows] and stores outputs of rows begin, ...,
/// begin + count - 1.
template <bool kMatrix, int kRows, int Sums>
__device__ __forceinline__ void store_sums(const GemmArgs& args, const float* bias, int tile,
                                           int begin, int count, const float (&acc)[Sums][4],
                                           float* shared) {
  __syncthreads();  // whoever still reads what was there before
  put_sums<kMatrix, kRows>(acc, shared + threadIdx.x / 32 * kTileRows * kRows);
  __syncthreads();
  const bool gate_up = gated(args.activation);
  const int outputs = gate_up ? kTileRows / 2 : kTileRows;
  for (int i = static_cast<int>(threadIdx.x); i < outputs * count; i += 32 * kFewWarps) {
    const int r = i % outputs, n = i / outputs;
    store_output(args, bias, begin + n, tile * outputs + r, total_of<kRows>(shared, r, n),
                 gate_up ? total_of<kRows>(shared, r + 8, n) : 0.f);
  }
}

/// Where tile `tile` of a weight begins.
template <class W>
__device__ __forceinline__ const W* weight_tile(const void* weight, int tile, int steps) {
  return static_cast<const W*>(weight) + int64_t{tile / 4} * steps * 4 * kTileValues +
         tile % 4 * kTileValues;
}

}  // namespace moe
