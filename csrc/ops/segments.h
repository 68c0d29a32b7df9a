#pragma once

#include "core/op.h"

namespace moe {

/// Checks a list of segments [B + 1] i32: tokens segments[b] to segments[b + 1] are routed
/// together, such as those of a text or of an image. From 0 to T, ascending.
inline void check_segments(const Check& check, const Tensor& segments) {
  check.rank("segments", segments, 1);
  check.dtype("segments", segments, {DType::i32});
  check.that(segments.dim(0) >= 1, "segments", "of at least one number", segments.dim(0));
}

inline int64_t segment_count(const Tensor& segments) { return segments.dim(0) - 1; }

}  // namespace moe
