#pragma once

#include "core/check.h"
#include "ops/activation.h"
#include "weights/weight.h"

namespace moe {

/// What Linear and GroupedGemm demand: out [T, N] ([T, N / 2] for swiglu) = activation(x W^T) with
/// x [T, K] and W [N, K].
void check_gemm(const Check& check, const Tensor& x, const char* name, const Weight& weight,
                Activation activation, const Tensor& out);

}  // namespace moe
