#pragma once
// Asynchronous copies: cp.async, bulk copies and tensor copies, with the limits of the PTX ISA and
// of cuTensorMapEncodeTiled.

#include <cstddef>
#include <cstdint>

#include "memory.h"

namespace moe::sim {

void start_copy(void* to, const void* from, unsigned bytes);
void commit_copies();
void wait_for_copies(int left);

/// Of weights: it may be asked for before the kernel before has ended.
void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* bar);

/// A [rows, columns] bf16 matrix whose boxes of [box_rows, 64] a tensor copy brings to shared
/// memory.
struct alignas(64) TensorMap {
  const std::byte* base;
  int64_t rows, columns, stride_bytes;
  int box_rows;
};

/// Throws std::runtime_error where the driver returns CUDA_ERROR_INVALID_VALUE.
TensorMap encode_tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride_bytes,
                            int box_rows);

/// Rows of 128 bytes, 128-byte swizzle; what lies outside the matrix is zero.
void tensor_copy(void* to, const TensorMap& map, int column, int row, uint64_t* bar);

}  // namespace moe::sim
