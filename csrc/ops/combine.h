#pragma once

#include "core/op.h"

namespace moe {

/// Kinds of experts (MoE++, arXiv:2410.07348, section 3.2).
enum class ExpertKind : uint8_t { ffn, zero, copy, constant };

/// Weighted sum of what a token's experts return, back in token order, plus the residual stream.
///
///   out[t] = residual[t] + sum_k weights[t, k] * y_k, with xs = scale * x[t] and
///   ffn:       y = expert_out[rows[t, k]]
///   zero:      y = 0
///   copy:      y = xs
///   constant:  y = a1 xs + a2 constants[c], [a1, a2] = softmax(gates[c] xs)
///
/// Copy and constant experts become scalars per token. Sums in f32: residual, then x, then
/// constants in order, then FFN slots with k ascending, so every run and every batch gives the same
/// bits.
struct Combine {
  static constexpr const char* kName = "combine";

  Tensor expert_out;           // [R, H] f32 | bf16
  Tensor rows;                 // [T, K] i32, row of expert_out; -1 for experts without a group
  Tensor ids;                  // [T, K] i32
  Tensor weights;              // [T, K] f32
  Tensor residual;             // [T, H] f32
  std::vector<uint8_t> kinds;  // E ExpertKind values
  Tensor x;                    // [T, H] dtype of expert_out, MoE input; for copy and constant
  Tensor constants;            // [C, H] f32, one for each constant expert in order; optional
  Tensor gates;                // [C, 2, H] f32, the gate of each constant expert; with constants
  float scale;
  Tensor out;  // [T, H] f32; may be `residual`

  static constexpr int64_t kMaxConstants = 64;

  void check() const {
    const Check check(kName);
    check.rank("expert_out", expert_out, 2);
    check.activation("expert_out", expert_out);
    check.contiguous("expert_out", expert_out);
    check.rank("weights", weights, 2);
    check.dtype("weights", weights, {DType::f32});
    const int64_t T = weights.dim(0), K = weights.dim(1), H = expert_out.dim(1);
    for (const auto& [name, tensor] : {std::pair{"rows", &rows}, {"ids", &ids}}) {
      check.shape(name, *tensor, {T, K});
      check.dtype(name, *tensor, {DType::i32});
    }
    for (const auto& [name, tensor] : {std::pair{"residual", &residual}, {"out", &out}}) {
      check.shape(name, *tensor, {T, H});
      check.dtype(name, *tensor, {DType::f32});
    }
    int64_t constant_experts = 0;
    bool needs_x = false;
    for (uint8_t kind : kinds) {
      check.that(kind <= static_cast<uint8_t>(ExpertKind::constant), "kinds", "expert kinds",
                 int{kind});
      constant_experts += kind == static_cast<uint8_t>(ExpertKind::constant);
      needs_x |= kind >= static_cast<uint8_t>(ExpertKind::copy);
    }
    if (needs_x) {
      check.shape("x", x, {T, H});
      check.dtype("x", x, {expert_out.dtype});
    }
    check.that(constant_experts <= kMaxConstants, "kinds", "at most 64 constant experts",
               constant_experts);
    if (constant_experts == 0) return;
    check.shape("constants", constants, {constant_experts, H});
    check.dtype("constants", constants, {DType::f32});
    check.shape("gates", gates, {constant_experts, 2, H});
    check.dtype("gates", gates, {DType::f32});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
