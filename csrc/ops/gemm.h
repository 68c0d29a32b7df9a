#pragma once

#include <limits>
#include <vector>

#include "core/check.h"
#include "ops/activation.h"
#include "ops/glu.h"
#include "weights/weight.h"

namespace moe {

/// What Linear and GroupedGemm do to their sums:
///
///   out[t, :] = residual[t, :] + scale * row_scale[t] * activation(sums[t, :] + bias)
struct Epilogue {
  Tensor bias;       // [N], of weight rows; [G, N]: one row a group; optional
  Tensor row_scale;  // [T, 1]; optional
  Tensor residual;   // [T, outputs]; optional
  Activation activation = Activation::none;
  float scale = 1.f, limit = 0.f, alpha = 0.f;

  /// Of silu, geluTanh and the gated activations.
  constexpr Glu glu() const {
    constexpr float kNone = std::numeric_limits<float>::infinity();
    switch (activation) {
      case Activation::swigluClamped:
        return {alpha, 0.f, limit, 1.f};
      case Activation::geluTanh:
      case Activation::gegluTanh:
        return {1.5957691216f, 0.044715f, kNone, 0.f};  // 2 sqrt(2 / pi)
      default:
        return {1.f, 0.f, kNone, 0.f};
    }
  }
};

/// What Linear and GroupedGemm demand of a weight W [N, K] for x [T, K]; `name` is the weight's.
void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out);

/// What they demand of the settings of an activation.
void check_activation(const Check& check, float limit);

/// That all weights are filled and alike.
void check_weights(const Check& check, const std::vector<Weight>& weights);

/// Width of the output.
int64_t outputs_of(const Weight& weight, Activation activation);

}  // namespace moe
