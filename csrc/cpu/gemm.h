#pragma once

#include "core/check.h"
#include "cpu/context.h"
#include "ops/activation.h"

namespace moe {

/// What Linear and GroupedGemm share: one GEMM per group over packed weights.
struct GemmArgs {
  const Tensor& x;
  const int32_t* offsets;  // [groups + 1]
  const Tensor* weights;   // [groups]
  int64_t groups;
  const float* bias;       // [weight rows] or null
  const Tensor* residual;  // or null
  Activation activation;
  const Tensor& out;
  const Tensor& scratch;
};

void gemm_cpu(const CpuContext& cpu, const GemmArgs& args);

void check_gemm(const Check& check, const char* name, const Tensor& x, const Tensor& weight,
                Activation activation, DType out);
/// Width of the output.
int64_t outputs_of(const Tensor& weight, Activation activation);
size_t gemm_scratch_bytes(const Tensor& x, int64_t groups);

}  // namespace moe
