#pragma once

#include "core/fields.h"

namespace moe {

/// What a GEMM does to its sums before it stores them.
enum class Activation {
  none,
  silu,
  swiglu,  // silu(gate) * up, for gate_up weights; halves the output width
  tanh,
};

template <>
struct EnumNames<Activation> {
  static constexpr const char* type = "Activation";
  static constexpr const char* names[] = {"none", "silu", "swiglu", "tanh"};
};

}  // namespace moe
