#pragma once

#include "weights/encoded_matrix.h"

namespace moe {

/// A matrix in MXFP4 (OCP Microscaling Formats v1.0), laid out as gpt-oss publishes it:
/// e2m1(code) * 2^(scale - 127).
struct Mxfp4Matrix final : EncodedMatrix {
  static constexpr int64_t kGroup = 32;  // values of a row that share a scale

  Tensor blocks;  // [N, K / 32, 16] u8: value 2b in the low half of byte b, 2b + 1 in the high one
  Tensor scales;  // [N, K / 32] u8: powers of two, biased by 127; 255 is NaN

  void prepare() override;
  std::vector<Tensor> parts() const override { return {blocks, scales}; }
  /// Exact but for what is too large: infinite.
  void read(int64_t n, int64_t begin, int64_t count, float* to) const override;

  uint8_t code(int64_t n, int64_t k) const {
    return blocks.as<uint8_t>()[(n * K + k) / 2] >> (k % 2 * 4) & 15;
  }
  uint8_t scale(int64_t n, int64_t group) const {
    return scales.as<uint8_t>()[n * (K / kGroup) + group];
  }
};

}  // namespace moe
