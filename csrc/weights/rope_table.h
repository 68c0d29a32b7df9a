#pragma once

#include "core/tensor.h"

namespace moe {

/// How a rotary table was rounded by the checkpoint's authors.
enum class RopeRounding {
  exact,             // f32 throughout
  bf16_frequencies,  // inverse frequencies in bf16 (Yuan's Megatron code)
  bf16,              // frequencies, positions, angles, cosines and sines (Yuan's published code)
};

/// Fills out [P, r]: r/2 cosines, then r/2 sines, of position * position_scale * base^(-2j / r).
void rope_table(Tensor& out, double base, double position_scale, RopeRounding rounding);

}  // namespace moe
