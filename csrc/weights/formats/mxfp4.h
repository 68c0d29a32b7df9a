#pragma once

#include "core/context.h"
#include "core/tensor.h"

namespace moe {

/// A matrix [N, K] in MXFP4 (OCP Microscaling Formats v1.0), laid out as gpt-oss publishes it.
struct Mxfp4 {
  static constexpr int64_t kGroup = 32;  // values of a row that share a scale

  Tensor blocks;  // [N, K / 32, 16] u8: value 2b in the low half of byte b, 2b + 1 in the high one
  Tensor scales;  // [N, K / 32] u8: powers of two, biased by 127; 255 is NaN
};

/// out [N, K] bf16: e2m1(code) * 2^(scale - 127), exact but for what is too large: infinite.
void unpack(const CpuContext& cpu, const Mxfp4& source, Tensor& out);

}  // namespace moe
