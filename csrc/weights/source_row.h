#pragma once

#include <cstring>

#include "core/dtype.h"

namespace moe {

struct EncodedMatrix;

/// One row of a weight as a file has it: plain values, which may be unaligned, or of a matrix that
/// is encoded.
struct SourceRow {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;  // f32 | bf16 | f16
  const EncodedMatrix* encoded = nullptr;
  int64_t row = 0;  // of the encoded matrix

  bool none() const { return !data && !encoded; }  // zeros
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
