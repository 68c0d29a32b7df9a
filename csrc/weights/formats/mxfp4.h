#pragma once

#include "weights/formats/packed_fragments.h"

namespace moe {

/// MXFP4 (OCP Microscaling Formats v1.0) as files have it: w = e2m1(code) * 2^(scale - 127).
///
/// A panel on the host, the same bytes for every instruction set:
///
///   [K / 32 groups, rounded up][4 lines of 256 bytes][64 u8 scales]
///
/// Lines are those of int4 (weights/formats/integer.h): 8 k of 64 outputs, [64][4] bytes, k 0 to 3
/// in the low nibbles and k 4 to 7 in the high ones; a nibble is the e2m1 code, its sign the
/// highest bit. k is padded with zeros, code 0; rows past N have codes 0. Scales are the file's
/// bytes, from 2 on: a group with less, of weights below 2^-123, becomes zeros. A scale of 255 is
/// NaN.
///
/// Products take a code as twice its value, an integer from -12 to 12, and the scale as
/// 2^(scale - 128): with rows of f32 as a float, exactly, with rows of bf16 as an integer.
struct Mxfp4Layout {
  static constexpr int64_t kGroup = 32, kLineBytes = 4 * 256, kGroupBytes = kLineBytes + 64;
  static constexpr int64_t groups(int64_t k) { return (k + kGroup - 1) / kGroup; }
  /// On a GPU, with the same codes and scales.
  static constexpr PackedFragments fragments() { return {4, 1, false, 0}; }
};

extern const Format kMxfp4Format;

}  // namespace moe
