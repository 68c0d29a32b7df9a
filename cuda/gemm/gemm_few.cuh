#pragma once
// Products of few rows of x with one tile of 16 packed weight rows, by one warp. bf16 activations
// go through mma.sync with rows of x as n, f32 weights in three bf16 parts that make up all of
// their bits; f32 activations through f32 multiply-adds on the same fragments, so they are true
// f32, by weights that are bf16 at most where they are packed.

#include "packed.cuh"

namespace moe {

constexpr int kFewWarps =
    8;  // of a block; they split K in fixed pieces and add up in a fixed order

/// The piece of K's steps that this warp has: whole blocks of packed weights, in every format, so
/// that all are added up alike.
struct Steps {
  int first, last;
};
__device__ __forceinline__ Steps warp_steps(int steps) {
  constexpr int kBlock = 2;
  const int per_warp = (steps + kFewWarps * kBlock - 1) / (kFewWarps * kBlock) * kBlock;
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

/// A warp's piece of a weight tile on its way from memory: the next kAhead steps are under way at
/// any time, since what bounds a kernel that only reads is how many bytes it has asked for.
template <class W>
struct WeightStream {
  static constexpr int kSteps = Weights<W>::kSteps, kAhead = Weights<W>::kAhead;
  LaneTile tile;
  int first, steps;  // of the piece
  Weights<W> ahead[kAhead];

  __device__ __forceinline__ WeightStream(const WeightGrid& grid, const void* weight, int index,
                                          Steps piece)
      : tile(lane_tile<W>(grid, weight, index, static_cast<int>(threadIdx.x % 32))),
        first(piece.first / kSteps),
        steps(piece.last - piece.first) {}

  __device__ __forceinline__ void load(int step, int slot) {
    if (step < steps) ahead[slot].load(tile, first + step / kSteps);
  }
  __device__ __forceinline__ void start() {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) load(u * kSteps, u);
  }
};

/// Before wait_prior_grid(): asks for all of a weight's panel to come to the second-level cache, a
/// part by each block of its tiles. Memory is idle while kernels wait for each other.
__device__ __forceinline__ void prefetch_panel(const WeightGrid& grid, const void* weight,
                                               int tile) {
  if (threadIdx.x % 32 != 0 || threadIdx.x >= 32 * kFewWarps) return;
  const unsigned blocks = min(gridDim.x - static_cast<unsigned>(tile / 4 * 4), 4u);
  const unsigned part = static_cast<unsigned>(tile % 4) * kFewWarps + threadIdx.x / 32;
  const auto all = static_cast<unsigned>(grid.panel_bytes);
  const unsigned piece = (all / (blocks * kFewWarps) + 15) / 16 * 16;
  const unsigned begin = min(part * piece, all), bytes = min(piece, all - begin);
  const auto* panel = static_cast<const unsigned char*>(weight) + tile / 4 * grid.panel_bytes;
  if (bytes) prefetch_l2(panel + begin, bytes);
}

/// The same of a tile by a block of those that may be there before the kernel before has ended, and
/// of the one that comes a wave later, whose last blocks would have memory to themselves. `before`:
/// blocks of the groups before.
__device__ __forceinline__ void prefetch_waves(const GemmArgs& args, const void* weight, int tile,
                                               int before) {
  if (before + tile >= args.first_wave) return;
  prefetch_panel(args.grid, weight, tile);
  if (tile + args.first_wave < static_cast<int>(gridDim.x))
    prefetch_panel(args.grid, weight, tile + args.first_wave);
}

/// Adds a lane's products of one step to its sum of a weight row: an order that leaves the compiler
/// no choice, as other kernels give these bits, too.
/// `w`: the weights of row g, or behind two more of row g + 8.
__device__ __forceinline__ float add_step(float sum, const float* w, const float2& low,
                                          const float2& high) {
  return sum + fmaf(w[5], high.y, fmaf(w[4], high.x, fmaf(w[1], low.y, w[0] * low.x)));
}

/// Multiplies a started stream, which is at its end then. bf16: sums of NT tiles of 8 rows of x,
/// acc[tile] as mma.m16n8k16 has it. f32: of 8 rows of x, acc[n] has the lane's share of weight
/// rows g and g + 8. `row_of(n)` is row n of `count`; sums of others are of no use.
template <class X, class W, int NT, class RowOf, int Sums>
__device__ __forceinline__ void multiply(WeightStream<W>& stream, int first_step, int K, bool whole,
                                         int count, const RowOf& row_of, float (&acc)[Sums][4]) {
  constexpr int kAhead = WeightStream<W>::kAhead, kSteps = WeightStream<W>::kSteps;
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  constexpr bool kMatrix = is_bf16<X>;
  const X* rows[NT];  // for the matrices: row g of each tile
  for (int i = 0; i < NT; ++i) rows[i] = row_of(min(8 * i + g, count - 1));
  if constexpr (kMatrix) {
    for (int step = 0; step < stream.steps; step += kAhead * kSteps) {
#pragma unroll
      for (int u = 0; u < kAhead * kSteps; ++u) {
        if (step + u >= stream.steps) break;
        const int slot = u / kSteps, k = (first_step + step + u) * kStepK + 2 * t;
        const Weights<W> w = stream.ahead[slot];
        if (u % kSteps == kSteps - 1) stream.load(step + u + 1 + (kAhead - 1) * kSteps, slot);
        uint32_t a[Weights<W>::kParts][4];
        w.parts(u % kSteps, a);
#pragma unroll
        for (int i = 0; i < NT; ++i) {
          if (8 * i >= count) break;
          const uint32_t b[2] = {load_bits(rows[i], k, K, whole),
                                 load_bits(rows[i], k + 8, K, whole)};
#pragma unroll
          for (const auto& part : a) mma_bf16(acc[i], part, b);
        }
      }
    }
  } else {
    // Lane (g, t) multiplies its k of rows g and g + 8 with all rows of x; t is summed later.
    for (int step = 0; step < stream.steps; step += kAhead * kSteps) {
#pragma unroll
      for (int slot = 0; slot < kAhead; ++slot) {
        const int first = step + slot * kSteps;
        if (first >= stream.steps) break;
          // A loop, since this is the code that takes longest to compile.
#pragma unroll 1
        for (int s = first; s < min(first + kSteps, stream.steps); ++s) {
          const int k = (first_step + s) * kStepK + 2 * t;
          float v[8];
          get_values(stream.ahead[slot], s - first, v);
#pragma unroll
          for (int n = 0; n < 8; ++n) {
            if (n >= count) break;
            const X* row = row_of(n);
            const float2 low = load_pair(row, k, K), high = load_pair(row, k + 8, K);
            acc[n][0] = add_step(acc[n][0], v, low, high);
            acc[n][1] = add_step(acc[n][1], v + 2, low, high);
          }
        }
        stream.load(first + kAhead * kSteps, slot);
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

}  // namespace moe
