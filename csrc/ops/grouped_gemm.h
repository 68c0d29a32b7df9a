#pragma once

#include "core/op.h"
#include "ops/activation.h"

namespace moe {

/// One GEMM per expert over the rows that `permute` grouped (Shazeer et al. 2017,
/// arXiv:1701.06538).
///
///   out[r, :] = activation(x[r, :] W_g^T)  for offsets[g] <= r < offsets[g + 1]
///
/// Weights come as one tensor per expert, so that they can live anywhere. Sums in f32. Rows at and
/// beyond offsets[G] are not touched.
struct GroupedGemm {
  static constexpr const char* kName = "grouped_gemm";

  Tensor x;                     // [R, K] f32 | bf16
  Tensor offsets;               // [G + 1] i32
  std::vector<Tensor> weights;  // G times [N, K] packed f32 | bf16; gate_up for swiglu
  Tensor out;                   // [R, N] ([R, N / 2] for swiglu) f32 | bf16
  Activation activation;
  Tensor scratch;

  void check() const;
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
