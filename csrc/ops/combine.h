#pragma once

#include <algorithm>

#include "core/gpu_limits.h"
#include "core/op.h"
#include "ops/expert_kind.h"

namespace moe {

/// Weighted sum of what a token's experts return, back in token order, plus the residual stream.
///
///   out[t] = residual[t] + factor * sum_k weights[t, k] * y_k, with xs = scale * x[t] and
///   ffn:       y = expertOut[rows[t, k]]
///   zero:      y = 0
///   copy:      y = xs
///   constant:  y = a1 xs + a2 constants[c], [a1, a2] = softmax(gates[c] xs)
///
/// A slot without a row adds nothing unless its weight is NaN: then out[t] is NaN, so that what
/// went wrong in a router shows where a zero expert was chosen, or a choice was dropped, too.
///
/// Copy and constant experts become scalars per token. Sums in f32: residual, then x, then
/// constants in order, then FFN slots with k ascending, so every run and every batch gives the same
/// bits.
struct Combine {
  static constexpr const char* kName = "combine";

  Tensor expert_out;              // [R, H] f32 | bf16, rows grouped by expert
  Tensor rows;                    // [T, K] i32, row of expertOut; -1 for experts that are no FFN
  Tensor ids;                     // [T, K] i32
  Tensor weights;                 // [T, K] f32
  Tensor residual;                // [T, H] f32
  std::vector<ExpertKind> kinds;  // of the E experts
  Tensor x;                       // [T, H] dtype of expertOut; for copy and constant experts
  Tensor constants;               // [C, H] f32, one for each constant expert in order
  Tensor gates;                   // [C, 2, H] f32, the gate of each constant expert
  float scale = 1;                // of x, as the experts see it
  float factor = 1;               // of the sum of experts
  Tensor out;                     // [T, H] f32

  static constexpr int64_t kMaxConstants = 64;

  static constexpr auto fields() {
    return std::tuple(input("expertOut", &Combine::expert_out), input("rows", &Combine::rows),
                      input("ids", &Combine::ids), input("weights", &Combine::weights),
                      input("residual", &Combine::residual), value("kinds", &Combine::kinds),
                      optional("x", &Combine::x), optional("constants", &Combine::constants),
                      optional("gates", &Combine::gates), setting("scale", &Combine::scale),
                      setting("factor", &Combine::factor), output("out", &Combine::out));
  }
  void check() const {
    const Check check(kName);
    check.rank("expertOut", expert_out, 2);
    check.activation("expertOut", expert_out);
    check.contiguous("expertOut", expert_out);
    check.rank("weights", weights, 2);
    check.dtype("weights", weights, {DType::f32});
    const int64_t T = weights.dim(0), K = weights.dim(1), H = expert_out.dim(1);
    for (const auto& [name, tensor] : {std::pair{"rows", &rows}, {"ids", &ids}})
      check.indices(name, *tensor, {T, K});
    check.shape("residual", residual, {T, H});
    check.dtype("residual", residual, {DType::f32});
    const int64_t constant_experts = std::count(kinds.begin(), kinds.end(), ExpertKind::constant);
    if (constant_experts + std::count(kinds.begin(), kinds.end(), ExpertKind::copy) > 0) {
      check.shape("x", x, {T, H});
      check.dtype("x", x, {expert_out.dtype});
    }
    check.that(constant_experts <= kMaxConstants, "kinds", "of at most 64 constant experts",
               constant_experts);
    if (constant_experts == 0) return;
    check.shape("constants", constants, {constant_experts, H});
    check.dtype("constants", constants, {DType::f32});
    check.shape("gates", gates, {constant_experts, 2, H});
    check.dtype("gates", gates, {DType::f32});
  }
  void check_gpu() const {
    if (kinds.size() > GpuLimits::kExperts)
      fail(Code::unsupported, kName, ": kinds must be of at most ", GpuLimits::kExperts,
           " experts on a GPU, got ", kinds.size());
  }
  void make_outputs(const Make& make) { out = make(residual.shape, DType::f32); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
