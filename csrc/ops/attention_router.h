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
  static constexpr const char* kName = "attentionRouter";

  Tensor qkv;     // [T, 3E] f32: query, key, value of each expert
  Tensor logits;  // [T, E] f32

  static constexpr auto fields() {
    return std::tuple(input("qkv", &AttentionRouter::qkv),
                      output("logits", &AttentionRouter::logits));
  }
  void check() const {
    const Check check(kName);
    check.rank("qkv", qkv, 2);
    check.dtype("qkv", qkv, {DType::f32});
    if (qkv.dim(1) % 3) fail(Code::shape, kName, ": qkv must be [T, 3 E], got ", qkv.shape.text());
    check.that(qkv.dim(1) / 3 <= kMaxExperts, "qkv", "of at most 1024 experts", qkv.dim(1) / 3);
  }
  void make_outputs(const Make& make) { logits = make({qkv.dim(0), qkv.dim(1) / 3}, DType::f32); }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
