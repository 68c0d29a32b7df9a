#pragma once

#include "weights/formats/packed_fragments.h"

namespace moe {

/// Weights of small integers, w = scale * (q - zero), with one scale (and zero point) for a group
/// of k. Names: int8 and int4, `g` and the group, `z` with zero points.
///
/// A panel on the host, the same bytes for every instruction set:
///
///   int8  [groups][32 lines of 256 bytes][64 f16 scales]; with one scale an output, 64 f32 scales
///         behind the last group instead. A line is 4 k of 64 outputs, [64][4] bytes, q + 128.
///   int4  [groups][group / 8 lines of 256 bytes][64 f16 scales][64 u8 zero points, if any].
///         A line is 8 k of 64 outputs, [64][4] bytes: k 0 to 3 in the low nibbles, k 4 to 7 in
///         the high ones. Without zero points they are all 8.
///
/// k is padded to whole groups; rows past N have scale 0. Scales are f16 because published files'
/// are.
struct IntegerLayout {
  WeightFormat id;
  const char* name;
  int bits;
  int64_t group;
  bool by_group;  // scales; else one an output
  bool zeros;

  constexpr int64_t groups(int64_t k) const { return (k + group - 1) / group; }
  constexpr int64_t line_bytes() const { return group * bits / 8 * 64; }  // of a group
  constexpr int64_t group_bytes() const {
    return line_bytes() + (by_group ? 128 : 0) + (zeros ? 64 : 0);
  }
  constexpr int64_t panel_bytes(int64_t k) const {
    return groups(k) * group_bytes() + (by_group ? 0 : 256);
  }
  /// On a GPU. Scales of int8 are f32 there, of groups, too: 1.5 % more bytes and one kernel less.
  constexpr PackedFragments fragments() const {
    const int shift = !by_group                          ? PackedFragments::kWhole
                      : group == PackedFragments::kBlock ? 0
                                                         : 2;
    return {bits, bits == 8 ? 4 : 2, zeros, shift};
  }
};

inline constexpr IntegerLayout kInt8{WeightFormat::int8, "int8", 8, 128, false, false},
    kInt8G128{WeightFormat::int8_g128, "int8g128", 8, 128, true, false},
    kInt4G32{WeightFormat::int4_g32, "int4g32", 4, 32, true, false},
    kInt4G128{WeightFormat::int4_g128, "int4g128", 4, 128, true, false},
    kInt4G32Z{WeightFormat::int4_g32z, "int4g32z", 4, 32, true, true},
    kInt4G128Z{WeightFormat::int4_g128z, "int4g128z", 4, 128, true, true};

/// A row of k values in the layout of compressed-tensors' files: int8 as signed bytes with one f32
/// scale, int4 as nibbles q, the lowest first, with an f16 scale a group. What the format's panels
/// have, to the bit; k is a whole number of int4's groups.
void quantize_row(const IntegerLayout& layout, const SourceRow& row, int64_t k, std::byte* values,
                  std::byte* scales);

/// Null for formats that are none of these.
constexpr const IntegerLayout* integer_layout(WeightFormat id) {
  for (const IntegerLayout* layout :
       {&kInt8, &kInt8G128, &kInt4G32, &kInt4G128, &kInt4G32Z, &kInt4G128Z})
    if (layout->id == id) return layout;
  return nullptr;
}

extern const Format kInt8Format, kInt8G128Format, kInt4G32Format, kInt4G128Format, kInt4G32ZFormat,
    kInt4G128ZFormat;

}  // namespace moe
