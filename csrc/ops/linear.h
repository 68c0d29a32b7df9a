#pragma once

#include "core/op.h"
#include "ops/activation.h"

namespace moe {

/// Dense projection: out = activation(x W^T + bias) + residual, sums in f32.
/// It is the grouped GEMM with one group.
struct Linear {
  static constexpr const char* kName = "linear";

  Tensor x;         // [T, K] f32 | bf16, may be a column slice
  Tensor weight;    // [N, K] packed f32 | bf16; gate_up for swiglu
  Tensor bias;      // [N] f32, optional; with swiglu in the order of the rows, gate first
  Tensor residual;  // [T, N] f32, optional; may be `out`
  Tensor out;       // [T, N] ([T, N / 2] for swiglu) f32 | bf16
  Activation activation;
  Tensor scratch;
  bool deterministic = false;  // on a GPU: the same kernel for any number of rows

  void check() const;
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
