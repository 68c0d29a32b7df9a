#pragma once

#include "core/tensor.h"
#include "cpu/context.h"
#include "ops/gemm.h"

namespace moe {

/// What Linear and GroupedGemm share: one GEMM per group over packed weights.
struct GemmCall {
  const Tensor& x;
  const int32_t* offsets;  // [groups + 1]
  const Weight* weights;   // [groups], of one shape and format
  int64_t groups;
  Epilogue epilogue;
  const Tensor& out;
  const Tensor& scratch;
};

void gemm_cpu(const CpuContext& cpu, const GemmCall& call);

/// Of `scratch`, for rows like those of x.
size_t gemm_scratch_bytes(const Tensor& x, WeightFormat format, int64_t groups);

}  // namespace moe
