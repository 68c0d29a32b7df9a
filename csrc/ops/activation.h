#pragma once

namespace moe {

/// What a GEMM does to its sums before it stores them.
enum class Activation {
  none,
  silu,
  swiglu,  // silu(gate) * up, for gate_up weights; halves the output width
  tanh,
};

}  // namespace moe
