#pragma once

#include <cstring>

#include "core/dtype.h"

namespace moe {

/// One row of a weight as a file has it; may be unaligned.
struct SourceRow {
  const std::byte* data = nullptr;  // null: zeros
  DType dtype = DType::f32;         // f32 | bf16 | f16
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
