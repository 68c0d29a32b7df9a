#pragma once

namespace moe {

/// The smooth activations as one function. g = min(gate, limit), u = up clamped to +-limit:
///
///   (u + shift) * g * sigmoid(alpha * g * (1 + cubic * g^2))
///
/// and without `up` the same without its factor. GELU's tanh form is such a sigmoid, since
/// (1 + tanh(z)) / 2 = sigmoid(2 z). No function here: units of every instruction set include it.
struct Glu {
  float alpha, cubic, limit, shift;
};

}  // namespace moe
