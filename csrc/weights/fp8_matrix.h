#pragma once

#include "weights/encoded_matrix.h"

namespace moe {

/// A matrix of 8-bit floats (E4M3 of arXiv:2209.05433: no infinities) with a scale for each block
/// of rows and columns, which multiplies, as DeepSeek-V3 publishes it.
struct Fp8Matrix final : EncodedMatrix {
  Tensor values;  // [N, K] u8
  Tensor scales;  // [ceil(N / rows), ceil(K / columns)] f32 | bf16 | f16, or u8: 2^(byte - 127)
  int64_t block_rows = 0, block_columns = 0;

  void prepare() override;
  std::vector<Tensor> parts() const override { return {values, scales}; }
  /// value * scale, rounded once, to bf16.
  void read(int64_t n, int64_t begin, int64_t count, float* to) const override;

  const uint8_t* codes(int64_t n) const { return values.as<uint8_t>() + n * K; }
  /// Of the block that holds column k of row n.
  double scale(int64_t n, int64_t k) const;
};

}  // namespace moe
