#pragma once

#include "core/op.h"

namespace moe {

/// Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
///
///   out[t, h] = x[t, h] / sqrt(mean_h(x[t, h]^2) + eps) * weight[h]
///
/// Statistics and product in f32; rounded once, to the dtype of `out`. `exact` gets the same
/// without rounding, for who reads both.
struct RmsNorm {
  static constexpr const char* kName = "rms_norm";

  Tensor x;       // [T, H] f32
  Tensor weight;  // [H] f32
  Tensor out;     // [T, H] f32 | bf16
  Tensor exact;   // [T, H] f32, optional
  float eps = 0;

  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.dtype("x", x, {DType::f32});
    check.shape("weight", weight, {x.dim(1)});
    check.dtype("weight", weight, {DType::f32});
    check.shape("out", out, x.shape);
    check.activation("out", out);
    if (exact) {
      check.shape("exact", exact, x.shape);
      check.dtype("exact", exact, {DType::f32});
    }
    check.that(eps >= 0, "eps", "at least 0", eps);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
