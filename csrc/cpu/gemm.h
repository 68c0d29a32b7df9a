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
  // Of HeadLinear: rows of x and out a head, and what its rows move on by; 0: they are as they lie.
  int64_t head_rows = 0, x_step = 0, out_step = 0;

  template <class T>
  T* x_row(int64_t r) const {
    return x.row<T>(r) + (head_rows ? r / head_rows * x_step : 0);
  }
  template <class T>
  T* out_row(int64_t r) const {
    return out.row<T>(r) + (head_rows ? r / head_rows * out_step : 0);
  }
};

void gemm_cpu(const CpuContext& cpu, const GemmCall& call);

/// Of `scratch`, for rows like those of x.
size_t gemm_scratch_bytes(const Tensor& x, WeightFormat format, int64_t groups);

}  // namespace moe
