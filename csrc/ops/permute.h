#pragma once

#include "core/op.h"

namespace moe {

/// Gathers token rows grouped by expert, as `TopK` has placed them.
///
///   out[rows[t, k], :] = scale * x[t, :]   for each slot that has a row
struct Permute {
  static constexpr const char* kName = "permute";

  Tensor x;     // [T, H] f32 | bf16
  Tensor rows;  // [T, K] i32, distinct; -1: none
  float scale;
  Tensor out;  // [T * K, H] dtype of x; rows that no slot has are not written

  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.contiguous("x", x);
    check.rank("rows", rows, 2);
    check.dtype("rows", rows, {DType::i32});
    const int64_t T = x.dim(0), K = rows.dim(1);
    check.shape("rows", rows, {T, K});
    check.shape("out", out, {T * K, x.dim(1)});
    check.dtype("out", out, {x.dtype});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
