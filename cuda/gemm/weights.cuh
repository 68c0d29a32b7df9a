#pragma once
// How kernels take a weight, whatever its format: a lane loads its share of some steps of a tile of
// 16 rows, and gets them as the A operand of m16n8k16. Kernels are templates of a format's type:
// float, bf16, or one of packed.cuh.

#include "gemm.cuh"

namespace moe {

/// A lane's way through a tile: where its numbers begin, its scales and its zero points.
struct LaneTile {
  const unsigned char *numbers, *scales, *zeros;
  int group_shift;
};

/// What a lane has of kSteps steps. `kAhead` loads are under way at a time in gemm_few. As bf16
/// they are kParts parts that add up to the weights.
template <class W>
struct Weights;

template <>
struct Weights<bf16> {
  static constexpr int kSteps = 1, kAhead = 8, kParts = 1, kBytes = 16;
  uint4 bits;

  __device__ __forceinline__ void load(const LaneTile& tile, int index) {
    bits = load_stream(reinterpret_cast<const uint4*>(tile.numbers) + index * 128);
  }
  __device__ __forceinline__ void parts(int, uint32_t (&a)[kParts][4]) const {
    a[0][0] = bits.x, a[0][1] = bits.y, a[0][2] = bits.z, a[0][3] = bits.w;
  }
};

template <>
struct Weights<float> {
  static constexpr int kSteps = 1, kAhead = 4, kParts = 3, kBytes = 32;
  uint4 bits[2];

  __device__ __forceinline__ void load(const LaneTile& tile, int index) {
    const auto* from = reinterpret_cast<const uint4*>(tile.numbers) + index * 256;
    bits[0] = load_stream(from), bits[1] = load_stream(from + 1);
  }
  __device__ __forceinline__ float operator[](int i) const {
    const uint4& half = bits[i / 4];
    const uint32_t word = i % 4 == 0 ? half.x : i % 4 == 1 ? half.y : i % 4 == 2 ? half.z : half.w;
    return __uint_as_float(word);
  }
  /// Each part is what the ones before have left over; together they are exact.
  __device__ __forceinline__ void parts(int, uint32_t (&a)[kParts][4]) const {
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

/// A step's eight weights as f32.
template <class W>
__device__ __forceinline__ void get_values(const Weights<W>& weights, int step, float (&v)[8]) {
  if constexpr (std::is_same_v<W, float>) {
    for (int i = 0; i < 8; ++i) v[i] = weights[i];
  } else {
    uint32_t a[1][4];
    weights.parts(step, a);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      v[i] = __uint_as_float(i % 2 ? a[0][i / 2] & 0xffff0000u : a[0][i / 2] << 16);
  }
}

/// The way of lane `lane` through tile `tile` of a weight.
template <class W>
__device__ __forceinline__ LaneTile lane_tile(const WeightGrid& grid, const void* weight, int tile,
                                              int lane) {
  const auto* panel = static_cast<const unsigned char*>(weight) + tile / 4 * grid.panel_bytes;
  const int place = 32 * (tile % 4) + lane;
  const unsigned char* numbers = panel + place * Weights<W>::kBytes;
  if constexpr (is_packed<W>)
    return {numbers, panel + grid.scales_at + place / 4 * W::kScaleBytes,
            panel + grid.zeros_at + place / 4 * 2, grid.group_shift};
  return {numbers, nullptr, nullptr, 0};
}

}  // namespace moe
