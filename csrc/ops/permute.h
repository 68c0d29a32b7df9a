#pragma once

#include "core/op.h"

namespace moe {

/// Token rows grouped by expert, as `topK` has placed them.
///
///   out[rows[t, k], :] = scale * x[t, :]   for each slot that has a row
struct Permute {
  static constexpr const char* kName = "permute";

  Tensor x;     // [T, H] f32 | bf16
  Tensor rows;  // [T, K] i32, distinct; -1: none
  float scale = 1;
  Tensor out;  // [T * K, H] dtype of x; rows that no slot has are not written

  static constexpr auto fields() {
    return std::tuple(input("x", &Permute::x), input("rows", &Permute::rows),
                      setting("scale", &Permute::scale), output("out", &Permute::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.contiguous("x", x);
    check.rank("rows", rows, 2);
    check.dtype("rows", rows, {DType::i32});
    check.contiguous("rows", rows);
    check.shape("rows", rows, {x.dim(0), rows.dim(1)});
  }
  void make_outputs(const Make& make) { out = make({rows.shape.count(), x.dim(1)}, x.dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
