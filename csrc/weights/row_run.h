#pragma once

#include <memory>
#include <optional>

#include "core/check.h"
#include "core/tensor.h"
#include "weights/encoded_matrix.h"
#include "weights/source_row.h"

namespace moe {

/// Rows start, start + step, … of `source`: `count` of them.
struct RowRun {
  Tensor source;  // [*, K] f32 | bf16 | f16, row-major; may be unaligned
  int64_t start;
  int64_t count;
  int64_t step = 1;
  bool turned = false;  // their transpose is meant, and is all of the weight
  std::shared_ptr<EncodedMatrix> encoded = nullptr;  // instead of the source
  // So many rows of zeros follow, and a row may be narrower than the weight's, with zeros behind
  // it.
  std::optional<int64_t> zeros = {};

  int64_t width() const { return encoded ? encoded->K : source.last(); }

  void check(const Check& check) const {
    if (!encoded) {
      check.dtype("source", source, {DType::f32, DType::bf16, DType::f16});
      check.contiguous("source", source);
    }
    const int64_t rows = encoded ? encoded->N : source.rows();
    const bool inside = start >= 0 && count >= 0 && step >= 1 && start <= rows &&
                        (count == 0 || (start < rows && count - 1 <= (rows - 1 - start) / step));
    check.that(inside, "rows", "inside the source",
               text(count, " from ", start, " on, ", step, " apart, of ", rows));
  }

  /// The i-th of the rows, unaligned.
  const std::byte* row(int64_t i) const {
    const auto bytes = static_cast<size_t>(source.last()) * dtype_bytes(source.dtype);
    return source.as<std::byte>() + static_cast<size_t>(start + i * step) * bytes;
  }
  SourceRow source_row(int64_t i) const {
    if (encoded) return {.encoded = encoded.get(), .row = start + i * step};
    return {.data = row(i), .dtype = source.dtype};
  }
};

}  // namespace moe
