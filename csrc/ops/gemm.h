#pragma once

#include <vector>

#include "core/check.h"
#include "ops/activation.h"
#include "weights/weight.h"

namespace moe {

/// What Linear and GroupedGemm demand of a weight W [N, K] for x [T, K]; `name` is the weight's.
void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out);

/// That all weights are filled and alike.
void check_weights(const Check& check, const std::vector<Weight>& weights);

/// Width of the output.
int64_t outputs_of(const Weight& weight, Activation activation);

}  // namespace moe
