#pragma once

#include "core/fields.h"

namespace moe {

/// What a GEMM does to its sums before it stores them. The gated ones take gate_up weights and
/// halve the output's width.
enum class Activation {
  none,
  sigmoid,
  tanh,
  relu,
  silu,
  geluTanh,       // Hendrycks and Gimpel 2016 (arXiv:1606.08415), the form by tanh
  swiglu,         // silu(gate) * up, Shazeer 2020 (arXiv:2002.05202)
  swigluClamped,  // (u + 1) * g * sigmoid(alpha * g), both clamped by `limit`, as gpt-oss has it
  gegluTanh,      // geluTanh(gate) * up
};

constexpr bool gated(Activation activation) { return activation >= Activation::swiglu; }

template <>
struct EnumNames<Activation> {
  static constexpr const char* type = "Activation";
  static constexpr const char* names[] = {"none",   "sigmoid",       "tanh",
                                          "relu",   "silu",          "geluTanh",
                                          "swiglu", "swigluClamped", "gegluTanh"};
};

}  // namespace moe
