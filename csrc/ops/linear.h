#pragma once

#include "core/op.h"
#include "ops/activation.h"
#include "weights/weight.h"

namespace moe {

/// Dense projection: out = activation(x W^T + bias) + residual, sums in f32.
/// It is the grouped GEMM with one group.
struct Linear {
  static constexpr const char* kName = "linear";

  Tensor x;         // [T, K] f32 | bf16, may be a column slice
  Weight weight;    // [N, K]; gate_up for swiglu
  Tensor bias;      // [N] f32, optional
  Tensor residual;  // [T, N] f32, optional; may be `out`
  Tensor out;       // [T, N] ([T, N / 2] for swiglu) f32 | bf16
  Activation activation;
  Tensor scratch;

  void check() const;
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
