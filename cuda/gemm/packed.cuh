#pragma once
// Formats of small numbers with scales. What comes out is bf16(scale * (q - zero)), rounded as the
// host rounds it, so kernels give the bits that they give of such bf16 weights.

#include "weights.cuh"

namespace moe {

/// For rows g and g + 8 of a tile what becomes of their numbers: s * (q - zero) in bf16 arithmetic,
/// where s is an f16 of 11 bits. It is the sum of two bf16, of which the second has 3 bits, so that
/// its product with a number of 4 bits is exact and the sum is rounded once.
struct SplitScales {
  uint32_t high[2], low[2], minus_zero[2];  // each twice, as operands of pairs

  /// `middle`: bits of bf16 -(128 + zero), twice.
  __device__ __forceinline__ SplitScales(uint32_t scales, uint32_t first, uint32_t second)
      : minus_zero{first, second} {
    const float2 s = widen2(scales);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float scale = r ? s.y : s.x;
      high[r] = narrow2(scale, scale);
      const float rest = scale - __uint_as_float(high[r] << 16);
      low[r] = narrow2(rest, rest);
    }
  }
  /// Of a pair of 128 + q in row r.
  __device__ __forceinline__ uint32_t operator()(uint32_t pair, int r) const {
    constexpr uint32_t kOne = 0x3f803f80, kMinusZero = 0x80008000;
    const uint32_t whole = fma_bf16x2(pair, kOne, minus_zero[r]);
    return fma_bf16x2(whole, high[r], fma_bf16x2(whole, low[r], kMinusZero));
  }
};

/// int4: f16 scales; with zero points or 8.
template <bool kZeroPoints>
struct Int4 {
  using Bits = uint2;
  using Scales = uint32_t;
  static constexpr int kScaleBytes = sizeof(Scales), kAhead = 8;
  static constexpr bool kZeros = kZeroPoints;

  static __device__ __forceinline__ void unpack(const Bits& bits, int step, const Scales& scales,
                                                uint32_t zeros, uint32_t (&a)[4]) {
    constexpr uint32_t kMiddle = 0xc300c300, kTwice = 0x00010001;  // -128
    const SplitScales rows(scales, kMiddle + (kZeros ? zeros & 0xff : 8) * kTwice,
                           kMiddle + (kZeros ? zeros >> 8 : 8) * kTwice);
    const uint32_t word = step ? bits.y : bits.x;
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = rows((word >> 4 * i & 0x000f000f) | 0x43004300, i % 2);
  }
};

/// Numbers of 8 bits and f32 scales, which have too many bits for bf16 arithmetic: `Code::value` is
/// what byte `i` of a word stands for, in f32.
template <class Code>
struct Bytes {
  using Bits = uint4;
  using Scales = float2;
  static constexpr int kScaleBytes = sizeof(Scales), kAhead = 6;
  static constexpr bool kZeros = false;

  static __device__ __forceinline__ void unpack(const Bits& bits, int step, const Scales& scales,
                                                uint32_t, uint32_t (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = step ? (i < 2 ? bits.z : bits.w) : (i < 2 ? bits.x : bits.y);
      const float scale = i % 2 ? scales.y : scales.x;
      const unsigned byte = i % 2 * 2;
      a[i] = narrow2(Code::value(word, byte) * scale, Code::value(word, byte + 1) * scale);
    }
  }
};

/// Zero points of 128. The byte becomes the lowest bits of 2^23.
struct Int8Code {
  static __device__ __forceinline__ float value(uint32_t word, unsigned i) {
    return __uint_as_float(__byte_perm(word, 0x4b000000, 0x7540 + i)) - 8388736.f;
  }
};
/// E4M3 as f32 numbers with a code's exponent and fraction in their own; scales are 2^120 times
/// what they are.
struct Fp8Code {
  static __device__ __forceinline__ float value(uint32_t word, unsigned i) {
    const auto high = static_cast<int>(__byte_perm(word, 0, 0x0444 + 0x1000 * i));
    return __uint_as_float(static_cast<uint32_t>(high >> 4) & 0x87f00000);
  }
};
using Int8 = Bytes<Int8Code>;
using Fp8 = Bytes<Fp8Code>;

/// MXFP4: E2M1 as bf16 of the smallest exponents, times 2^126, times the scale.
struct Mxfp4 {
  using Bits = uint2;
  using Scales = uint16_t;
  static constexpr int kScaleBytes = sizeof(Scales), kAhead = 8;
  static constexpr bool kZeros = false;

  static __device__ __forceinline__ void unpack(const Bits& bits, int step, const Scales& scales,
                                                uint32_t, uint32_t (&a)[4]) {
    constexpr uint32_t kMinusZero = 0x80008000, kLargest = 0x7e807e80, kTwice = 0x00010001;
    const auto power = [](uint32_t e) {
      return (e == 0 ? 0x40 : e == 255 ? 0x7fc0 : e << 7) * kTwice;
    };
    const uint32_t powers[2] = {power(scales & 0xff), power(scales >> 8)};
    const uint32_t word = step ? bits.y : bits.x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t codes = word >> 4 * i;
      const uint32_t small = (codes << 6 & 0x01c001c0) | (codes << 12 & 0x80008000);
      a[i] = fma_bf16x2(fma_bf16x2(small, kLargest, kMinusZero), powers[i % 2], kMinusZero);
    }
  }
};

/// Two steps of a tile.
template <class F>
  requires is_packed<F>
struct Weights<F> {
  static constexpr int kSteps = 2, kAhead = F::kAhead, kParts = 1,
                       kBytes = sizeof(typename F::Bits);
  typename F::Bits bits;
  typename F::Scales scales;
  uint16_t zeros;

  __device__ __forceinline__ void load(const LaneTile& tile, int index) {
    const int group = index >> tile.group_shift;
    bits = load_stream(tile.at<typename F::Bits>(0, index, 128));
    scales = load_again(tile.at<typename F::Scales>(tile.scales, group, 32));
    if constexpr (F::kZeros) zeros = load_again(tile.at<uint16_t>(tile.zeros, group, 32));
  }
  __device__ __forceinline__ void parts(int step, uint32_t (&a)[kParts][4]) const {
    F::unpack(bits, step, scales, F::kZeros ? zeros : 0, a[0]);
  }
};

/// The types above, for a kernel that has all of them; none: the weights are not packed.
enum class Packed : int { none, int8, int4, int4_zeros, fp8, mxfp4 };

inline Packed packed_of(WeightFormat format) {
  if (format == WeightFormat::mxfp4) return Packed::mxfp4;
  if (format == WeightFormat::fp8 || format == WeightFormat::fp8_g128) return Packed::fp8;
  const IntegerLayout* integers = integer_layout(format);
  if (!integers) return Packed::none;
  return integers->bits == 8 ? Packed::int8 : integers->zeros ? Packed::int4_zeros : Packed::int4;
}

/// Calls `body(W{})` with the type that stands for a format.
template <class Body>
__host__ __device__ void dispatch_packed(Packed format, const Body& body) {
  switch (format) {
    case Packed::int8:
      return body(Int8{});
    case Packed::int4:
      return body(Int4<false>{});
    case Packed::int4_zeros:
      return body(Int4<true>{});
    case Packed::fp8:
      return body(Fp8{});
    default:
      return body(Mxfp4{});
  }
}
template <class Body>
void dispatch_weights(WeightFormat format, const Body& body) {
  if (const Packed packed = packed_of(format); packed != Packed::none)
    return dispatch_packed(packed, body);
  dispatch_activation(dense_dtype(format), "weight", body);
}

}  // namespace moe
