#pragma once

#include "core/op.h"

namespace moe {

/// Layer norm (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4).
///
///   out[t, h] = (x[t, h] - mean) / sqrt(variance + eps) * weight[h] + bias[h]
///
/// The variance is the mean of the squared differences (divided by H, not H - 1). A weight of D < H
/// values norms each run of D values of a row by itself, as a norm of heads does. Statistics and
/// product in f32; rounded once, to `dtype`.
struct LayerNorm {
  static constexpr const char* kName = "layerNorm";

  Tensor x;       // [T, H] f32 | bf16, may be a column slice
  Tensor weight;  // [D] f32, H a multiple of D
  Tensor bias;    // [D] f32
  float eps = 0;
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [T, H] dtype

  static constexpr auto fields() {
    return std::tuple(input("x", &LayerNorm::x), input("weight", &LayerNorm::weight),
                      optional("bias", &LayerNorm::bias), value("eps", &LayerNorm::eps),
                      setting("dtype", &LayerNorm::dtype), output("out", &LayerNorm::out));
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
    if (bias) {
      check.shape("bias", bias, weight.shape);
      check.dtype("bias", bias, {DType::f32});
    }
    check.that(eps >= 0, "eps", "at least 0", eps);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) { out = make(x.shape, dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
