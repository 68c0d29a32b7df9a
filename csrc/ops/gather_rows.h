#pragma once

#include "core/op.h"

namespace moe {

/// out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for.
struct GatherRows {
  static constexpr const char* kName = "gatherRows";

  Tensor x;     // [T, H] f32 | bf16
  Tensor rows;  // [R] i32, in [0, T)
  Tensor out;   // [R, H] dtype of x

  static constexpr auto fields() {
    return std::tuple(input("x", &GatherRows::x), input("rows", &GatherRows::rows),
                      output("out", &GatherRows::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("rows", rows, 1);
    check.dtype("rows", rows, {DType::i32});
  }
  void make_outputs(const Make& make) { out = make({rows.dim(0), x.dim(1)}, x.dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
