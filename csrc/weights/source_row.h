#pragma once

#include <cstring>

#include "core/dtype.h"

namespace moe {

struct IntegerMatrix;

/// One row of a weight as a file has it: plain values, which may be unaligned, or integers.
struct SourceRow {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;  // f32 | bf16 | f16
  const IntegerMatrix* integers = nullptr;
  int64_t row = 0;  // of integers

  bool none() const { return !data && !integers; }  // zeros
  bool plain(DType wanted) const { return data && dtype == wanted; }
  /// Values begin .. begin + count as f32.
  void read(int64_t begin, int64_t count, float* to) const;
};

/// Element of a file: f32, bf16 or f16, at any address.
inline float load_float(const std::byte* at, DType dtype) {
  if (dtype == DType::f32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

}  // namespace moe
