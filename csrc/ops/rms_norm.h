#pragma once

#include "core/op.h"

namespace moe {

/// Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
///
///   out[t, h] = x[t, h] / sqrt(mean_h(x[t, h]^2) + eps) * weight[h]
///
/// A weight of D < H values norms each run of D values of a row by itself, as a norm of heads does.
/// Statistics and product in f32; rounded once, to `dtype`. With `keepF32` also without rounding,
/// for who reads both.
struct RmsNorm {
  static constexpr const char* kName = "rmsNorm";

  Tensor x;       // [T, H] f32 | bf16, may be a column slice
  Tensor weight;  // [D] f32, H a multiple of D
  float eps = 0;
  DType dtype = DType::f32;  // f32 | bf16
  bool keep_f32 = false;
  Tensor out;    // [T, H] dtype
  Tensor exact;  // [T, H] f32, with keepF32 where out is rounded

  static constexpr auto fields() {
    return std::tuple(input("x", &RmsNorm::x), input("weight", &RmsNorm::weight),
                      value("eps", &RmsNorm::eps), setting("dtype", &RmsNorm::dtype),
                      setting("keepF32", &RmsNorm::keep_f32), output("out", &RmsNorm::out),
                      extra("exact", &RmsNorm::exact));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("weight", weight, 1);
    check.dtype("weight", weight, {DType::f32});
    const int64_t H = x.dim(1), D = weight.dim(0);
    if (D == 0 ? H > 0 : H % D != 0)
      fail(Code::shape, kName, ": weight must have a length that divides ", H, ", got ",
           weight.shape.text());
    check.that(eps >= 0, "eps", "at least 0", eps);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) {
    out = make(x.shape, dtype);
    if (keep_f32 && dtype != DType::f32) exact = make(x.shape, DType::f32);
  }
  /// Whether rows are normed whole.
  bool whole_rows() const { return weight.dim(0) == x.dim(1); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
