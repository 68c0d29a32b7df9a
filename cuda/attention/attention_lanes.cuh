#pragma once
// How a warp's lanes read a cache block of one head, 16 bytes at a time.

#include "attention.cuh"

namespace moe {

/// 16 bytes of a row, as many values as that is. Registers have no addresses, so everything here
/// is written for indices that the compiler knows.
template <class T>
struct Chunk {
  static constexpr int kValues = 16 / sizeof(T);
  uint4 bits;

  __device__ __forceinline__ void load(const T* from) {
    bits = load_once(reinterpret_cast<const uint4*>(from));
  }
  /// `count` values, anywhere; the rest is zero.
  __device__ __forceinline__ void load_some(const T* from, int count) {
    uint32_t word[4] = {};
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (i >= count) break;
      if constexpr (!is_bf16<T>)
        word[i] = __float_as_uint(from[i]);
      else
        word[i / 2] |= uint32_t{from[i].bits} << i % 2 * 16;
    }
    bits = {word[0], word[1], word[2], word[3]};
  }
  __device__ __forceinline__ float operator[](int i) const {
    const int at = is_bf16<T> ? i / 2 : i;
    const uint32_t word = at == 0 ? bits.x : at == 1 ? bits.y : at == 2 ? bits.z : bits.w;
    if (!is_bf16<T>) return __uint_as_float(word);
    return __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
  }
};

/// Where a lane stands in the cache blocks of one head.
template <class T>
struct Lanes {
  static constexpr int kValues = Chunk<T>::kValues, kAcross = kKeys / kValues;
  int lane, V;            // values of a row
  int chunks, rows;       // of a value row; value rows of one load
  int row, first, whole;  // this lane's value row of a load and its first column; V is aligned

  __device__ explicit Lanes(int V)
      : lane(static_cast<int>(threadIdx.x % 32)),
        V(V),
        chunks((V + kValues - 1) / kValues),
        rows(max(32 / chunks, 1)),
        row(chunks < 32 ? lane / chunks : 0),
        first((chunks < 32 ? lane % chunks : lane) * kValues),
        whole(V % kValues == 0) {}

  /// The key that this lane ends up with in score(), and the lane that has key j.
  __device__ int key() const { return lane % kAcross * kValues + lane / kAcross; }
  __device__ static int lane_of(int j) { return j / kValues + j % kValues * kAcross; }

  /// query . key for the lane's key; keys [D, 32]. kValues rows a load, a lane has as many keys of
  /// one row; then the rows' lanes swap halves until each has one key.
  template <int kAhead>
  __device__ float score(const float* query, const T* keys, int D) const {
    float sums[kValues] = {};
    const int d = lane / kAcross;
    for (int base = 0; base < D; base += kAhead * kValues) {
      Chunk<T> chunk[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u)
        if (base + u * kValues + d < D)
          chunk[u].load(keys + (base + u * kValues + d) * kKeys + lane % kAcross * kValues);
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        if (base + u * kValues + d >= D) break;
        const float factor = query[base + u * kValues + d];
#pragma unroll
        for (int i = 0; i < kValues; ++i) sums[i] += factor * chunk[u][i];
      }
    }
#pragma unroll
    for (int half = kValues / 2, bit = 16; half > 0; half /= 2, bit /= 2)
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const float low = sums[i], high = sums[i + half];
        const float other = __shfl_xor_sync(~0u, lane & bit ? low : high, bit);
        sums[i] = (lane & bit ? high : low) + other;
      }
    return sums[0];
  }
};

}  // namespace moe
