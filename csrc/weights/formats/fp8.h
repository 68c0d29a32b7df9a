#pragma once

#include "core/context.h"
#include "core/tensor.h"

namespace moe {

/// A matrix [N, K] of 8-bit floats (E4M3 of arXiv:2209.05433: no infinities) with a scale for each
/// block of rows and columns, as DeepSeek-V3 publishes it.
struct Fp8 {
  Tensor values;  // [N, K] u8
  Tensor scales;  // [ceil(N / rows), ceil(K / columns)] f32 | bf16 | f16, or u8: 2^(byte - 127)
  int64_t block_rows, block_columns;
};

/// out [N, K] bf16: value * scale, rounded once.
void unpack(const CpuContext& cpu, const Fp8& source, Tensor& out);

}  // namespace moe
