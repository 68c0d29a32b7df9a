#pragma once

#include "ops/segments.h"

namespace moe {

/// Experts choose tokens (arXiv:2202.09368, section 3.2): each takes the `capacity` tokens of a
/// segment with the largest p = softmax(logits of the token), or all of a shorter segment. Equal p
/// go to the lower token. A token is taken by none up to all of the experts, so a slot stands for
/// each expert: K = E.
///
/// A token's choice depends on tokens behind it, so this is no router of a causal decoder. A NaN
/// logit makes all p of that token NaN; it is then taken last.
struct ExpertChoice {
  static constexpr const char* kName = "expertChoice";

  Tensor logits;         // [T, E] f32
  Tensor segments;       // [B + 1] i32, from 0 to T: tokens that are routed together
  int64_t capacity = 0;  // tokens of a segment that an expert takes
  Tensor ids;            // [T, E] i32: 0 to E - 1 for every token
  Tensor weights;        // [T, E] f32, p
  Tensor rows;     // [T, E] i32, in token order inside an expert; -1: the expert did not take it
  Tensor offsets;  // [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1]

  static constexpr auto fields() {
    return std::tuple(
        input("logits", &ExpertChoice::logits), input("segments", &ExpertChoice::segments),
        value("capacity", &ExpertChoice::capacity), output("ids", &ExpertChoice::ids),
        output("weights", &ExpertChoice::weights), output("rows", &ExpertChoice::rows),
        output("offsets", &ExpertChoice::offsets));
  }
  void check() const {
    const Check check(kName);
    check.rank("logits", logits, 2);
    check.dtype("logits", logits, {DType::f32});
    check.contiguous("logits", logits);
    check.that(logits.dim(1) <= kMaxExperts, "logits", "of at most 1024 experts", logits.dim(1));
    check_segments(check, segments);
    check.that(capacity >= 1, "capacity", "at least 1", capacity);
  }
  void make_outputs(const Make& make) {
    ids = make(logits.shape, DType::i32);
    weights = make(logits.shape, DType::f32);
    rows = make(logits.shape, DType::i32);
    offsets = make({logits.dim(1) + 1}, DType::i32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
