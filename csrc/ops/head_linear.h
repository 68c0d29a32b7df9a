#pragma once

#include "core/op.h"
#include "weights/weight.h"

namespace moe {

/// A projection of its own for each head, as the two halves of an absorbed key/value projection are
/// (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.2).
///
///   out[t, n, :] = W_n x[t, n, D - K :]
///
/// Of a head's D values the last K are read: what comes before is its rotated part. Sums in f32.
/// It is the grouped GEMM with heads as groups, of which each has all tokens.
struct HeadLinear {
  static constexpr const char* kName = "headLinear";

  Tensor x;                     // [T, N * D] f32 | bf16, may be a column slice
  std::vector<Weight> weights;  // N times [O, K] of one format
  DType dtype = DType::f32;     // f32 | bf16
  Tensor out;                   // [T, N * O] dtype
  Tensor scratch;

  static constexpr auto fields() {
    return std::tuple(input("x", &HeadLinear::x), input("weights", &HeadLinear::weights),
                      setting("dtype", &HeadLinear::dtype), output("out", &HeadLinear::out));
  }
  void check() const;
  void check_gpu() const;
  void make_outputs(const Make& make);
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  bool deterministic = false;  // see Linear

  int64_t heads() const { return static_cast<int64_t>(weights.size()); }

  /// Set by make_outputs: x and out with a row for each head and token, head by head. Rows of one
  /// head are a row of x or out apart; `step` moves on from one head's end to the next one's begin.
  struct Rows {
    Tensor tensor;
    int64_t step = 0;
  };
  Rows x_rows, out_rows;
};

}  // namespace moe
