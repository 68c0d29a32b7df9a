#pragma once

#include "core/op.h"

namespace moe {

/// Router logits of Soft MoE as its published code has them (arXiv:2308.00951, section 2.3):
/// cosines of tokens and slots, times a learnt scale.
///
///   logits[t, s] = scale * (x[t] . slots[:, s]) / (|x[t]| |slots[:, s]|), |v| = sqrt(v . v + 1e-6)
struct SoftLogits {
  static constexpr const char* kName = "softLogits";

  Tensor x;       // [T, H] f32 | bf16
  Tensor slots;   // [H, S] f32, of S = experts * slots of an expert
  Tensor scale;   // [1] f32
  Tensor logits;  // [T, S] f32

  static constexpr float kEpsilon = 1e-6f;

  static constexpr auto fields() {
    return std::tuple(input("x", &SoftLogits::x), input("slots", &SoftLogits::slots),
                      input("scale", &SoftLogits::scale), output("logits", &SoftLogits::logits));
  }
  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("slots", slots, 2);
    check.shape("slots", slots, {x.dim(1), slots.dim(1)});
    check.dtype("slots", slots, {DType::f32});
    check.shape("scale", scale, {1});
    check.dtype("scale", scale, {DType::f32});
  }
  void make_outputs(const Make& make) { logits = make({x.dim(0), slots.dim(1)}, DType::f32); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
