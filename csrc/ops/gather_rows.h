#pragma once

#include "core/op.h"

namespace moe {

/// out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for.
struct GatherRows {
  static constexpr const char* kName = "gather_rows";

  Tensor x;     // [T, H] f32 | bf16
  Tensor rows;  // [R] i32, in [0, T)
  Tensor out;   // [R, H] dtype of x

  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("rows", rows, 1);
    check.dtype("rows", rows, {DType::i32});
    check.shape("out", out, {rows.dim(0), x.dim(1)});
    check.dtype("out", out, {x.dtype});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
