#pragma once

#include <optional>

#include "ops/combine.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace moe {

/// RMSNorm and the dense projection that reads it: a chain of two ops, which a GPU runs in one
/// launch for few tokens.
///
///   normed = rms_norm(x);  out = normed W^T
///
/// There it also takes the combine before it into that launch.
struct NormLinear {
  static constexpr const char* kName = "norm_linear";

  Tensor x;            // [T, H] f32
  Tensor norm_weight;  // [H] f32
  float eps;
  Tensor normed;  // [T, H] f32 | bf16
  Tensor exact;   // [T, H] f32, optional: see RmsNorm
  Weight weight;  // [N, H]
  Tensor out;     // [T, N] f32 | bf16
  Tensor scratch;
  std::optional<Combine> combine;  // what makes x, on a GPU

  static constexpr int64_t kFewTokens = 4;
  using Before = Combine;
  bool absorb(const Combine& before) {
    const bool fits = x.dim(0) <= kFewTokens && before.out.slot == x.slot &&
                      before.out.slot != before.residual.slot &&
                      before.expert_out.dtype == normed.dtype;
    if (fits) combine = before;
    return fits;
  }

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
