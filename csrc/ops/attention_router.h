#pragma once

#include "core/op.h"

namespace moe {

/// Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1; published code
/// `ParallelAttention_router`): per token, attention of the experts over each other.
///
///   A_ij = softmax_j(q_i k_j),  logits_i = sum_j A_ij v_j
///
/// No scale, no mixing of tokens, all in f32.
struct AttentionRouter {
  static constexpr const char* kName = "attention_router";

  Tensor qkv;     // [T, 3E] f32: query, key, value of each expert
  Tensor logits;  // [T, E] f32

  void check() const {
    const Check check(kName);
    check.rank("logits", logits, 2);
    check.dtype("logits", logits, {DType::f32});
    check.shape("qkv", qkv, {logits.dim(0), 3 * logits.dim(1)});
    check.dtype("qkv", qkv, {DType::f32});
    check.that(logits.dim(1) <= kMaxExperts, "logits", "of at most 1024 experts", logits.dim(1));
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
