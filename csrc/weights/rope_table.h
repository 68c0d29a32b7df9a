#pragma once

#include <vector>

#include "core/tensor.h"

namespace moe {

/// How a rotary table was rounded by the checkpoint's authors.
enum class RopeRounding {
  exact,             // f32 throughout
  bf16_frequencies,  // inverse frequencies in bf16 (Yuan's Megatron code)
  bf16,              // frequencies, positions, angles, cosines and sines (Yuan's published code)
};

/// What every kind of position scaling comes down to.
struct RopeAngles {
  std::vector<double> frequencies;  // radians a position, one a pair: r/2
  double position_scale = 1;
  double factor = 1;  // of cosines and sines
};

/// Fills out [P, r]: r/2 cosines, then r/2 sines, of position * position_scale * frequency.
void rope_table(Tensor& out, const RopeAngles& angles, RopeRounding rounding);

}  // namespace moe
