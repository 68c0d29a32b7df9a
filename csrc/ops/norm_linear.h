#pragma once

#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace moe {

/// RMSNorm and the dense projection that reads it: a chain of two ops, which a GPU runs in one
/// launch for few tokens.
///
///   normed = rms_norm(x);  out = normed W^T
struct NormLinear {
  static constexpr const char* kName = "norm_linear";

  Tensor x;            // [T, H] f32
  Tensor norm_weight;  // [H] f32
  float eps;
  Tensor normed;  // [T, H] f32 | bf16
  Tensor exact;   // [T, H] f32, optional: see RmsNorm
  Tensor weight;  // [N, H] packed f32 | bf16
  Tensor out;     // [T, N] f32 | bf16
  Tensor scratch;

  void check() const {
    norm().check();
    linear().check();
  }
  size_t scratch_bytes(const Device* device) const { return linear().scratch_bytes(device); }

  void run_cpu(const CpuContext& cpu) const {
    norm().run_cpu(cpu);
    linear().run_cpu(cpu);
  }
  void run_cuda(const CudaContext&) const;

 private:
  RmsNorm norm() const { return {x, norm_weight, normed, exact, eps}; }
  Linear linear() const { return {normed, weight, {}, {}, out, Activation::none, scratch}; }
};

}  // namespace moe
