#pragma once

#include <cmath>

#include "weights/format.h"

namespace moe {

/// 8-bit floats (E4M3 of arXiv:2209.05433: bias 7, no infinities, 0x7f is NaN, 448 the largest) as
/// files have them, w = e4m3(code) * scale. `fp8` has one scale an output, `fp8g128` one for each
/// 128 k of an output, which holds blocks of 128 x 128 in whatever order their rows are stacked.
///
/// A panel on the host, the same bytes for every instruction set, is that of int8
/// (weights/formats/integer.h) with codes for its values and f32 for all its scales:
///
///   fp8      [K / 128 groups, rounded up][32 lines of 256 bytes], then [64 f32 scales]
///   fp8g128  [K / 128 groups, rounded up][32 lines of 256 bytes][64 f32 scales]
///
/// A line is 4 k of 64 outputs, [64][4] bytes. k is padded with zeros; rows past N have scale 0.
/// Stored is scale * 2^120, a power of two that makes the f32 whose exponent and fraction are a
/// code's the code's value: so scales must be below 256. Where a code was NaN, the scale is.
struct Fp8Layout {
  WeightFormat id;
  const char* name;
  bool by_group;

  static constexpr int64_t kGroup = 128, kLineBytes = 32 * 256, kScaleBytes = 256;
  static constexpr int64_t groups(int64_t k) { return (k + kGroup - 1) / kGroup; }
  constexpr int64_t group_bytes() const { return kLineBytes + (by_group ? kScaleBytes : 0); }
  constexpr int64_t panel_bytes(int64_t k) const {
    return groups(k) * group_bytes() + (by_group ? 0 : kScaleBytes);
  }
};

inline constexpr Fp8Layout kFp8{WeightFormat::fp8, "fp8", false},
    kFp8G128{WeightFormat::fp8_g128, "fp8g128", true};

extern const Format kFp8Format, kFp8G128Format;

/// What a code stands for.
inline float e4m3_value(uint8_t code) {
  if ((code & 127) == 127) return NAN;
  const uint32_t bits = static_cast<uint32_t>(code & 128) << 24 | (code & 127u) << 20;
  return bits_to_float(bits) * 0x1p120f;
}

/// The nearest code, ties to the even one; what is larger than 448 becomes 448.
inline uint8_t e4m3_code(float value) {
  const uint32_t bits = float_to_bits(value), size = bits & 0x7fffffffu;
  const auto sign = static_cast<uint8_t>(bits >> 24 & 0x80u);
  if (size > 0x7f800000u) return 0x7f;
  // Below 2^-6 the unit is 2^-9: adding 2^14 leaves as many bits of a float.
  const uint32_t code = size < 0x3c800000u
                            ? float_to_bits(bits_to_float(size) + 0x1p14f) - float_to_bits(0x1p14f)
                            : ((size + 0x7ffffu + (size >> 20 & 1u)) >> 20) - (120u << 3);
  return static_cast<uint8_t>(sign | (code < 0x7eu ? code : 0x7eu));
}

}  // namespace moe
