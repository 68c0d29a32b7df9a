#pragma once

#include "core/op.h"
#include "ops/activation.h"
#include "ops/permute.h"
#include "weights/weight.h"

namespace moe {

/// One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538).
///
///   out[r, :] = activation(x[r, :] W_g^T)  for offsets[g] <= r < offsets[g + 1]
///
/// With `rows`, as `TopK` gives them, x has tokens in order and is permuted first, which a GPU does
/// on the way for few tokens. Weights come one per expert, so that they can live
/// anywhere. Sums in f32. Rows at and beyond offsets[G] are not touched.
struct GroupedGemm {
  static constexpr const char* kName = "grouped_gemm";

  Tensor x;                     // [R, K] f32 | bf16; with `rows` [T, K]
  Tensor rows;                  // [T, k] i32 of T * k = R slots, optional: see Permute
  float scale = 1;              // of x, with `rows`
  Tensor gathered;              // [R, K], with `rows`
  Tensor offsets;               // [G + 1] i32
  std::vector<Weight> weights;  // G times [N, K] of one format; gate_up for swiglu
  Tensor out;                   // [R, N] ([R, N / 2] for swiglu) f32 | bf16
  Activation activation;
  Tensor scratch;

  void check() const;
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

 private:
  Permute permute() const { return {x, rows, scale, gathered}; }
};

}  // namespace moe
