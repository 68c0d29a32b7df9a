#pragma once

#include "core/op.h"

namespace moe {

/// Layer norm (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4).
///
///   out[t, h] = (x[t, h] - mean) / sqrt(variance + eps) * weight[h] + bias[h]
///
/// The variance is the mean of the squared differences (divided by H, not H - 1). Statistics and
/// product in f32; rounded once, to `dtype`.
struct LayerNorm {
  static constexpr const char* kName = "layerNorm";

  Tensor x;       // [T, H] f32 | bf16, may be a column slice
  Tensor weight;  // [H] f32
  Tensor bias;    // [H] f32
  float eps = 0;
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [T, H] dtype

  static constexpr auto fields() {
    return std::tuple(input("x", &LayerNorm::x), input("weight", &LayerNorm::weight),
                      input("bias", &LayerNorm::bias), value("eps", &LayerNorm::eps),
                      setting("dtype", &LayerNorm::dtype), output("out", &LayerNorm::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    for (const auto& [name, tensor] : {std::pair{"weight", &weight}, {"bias", &bias}}) {
      check.shape(name, *tensor, {x.dim(1)});
      check.dtype(name, *tensor, {DType::f32});
    }
    check.that(eps >= 0, "eps", "at least 0", eps);
    check.activation("dtype", dtype);
  }
  void make_outputs(const Make& make) { out = make(x.shape, dtype); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
