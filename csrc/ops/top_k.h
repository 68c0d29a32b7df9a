#pragma once

#include "core/op.h"
#include "ops/expert_kind.h"

namespace moe {

/// What a chosen expert's weight is.
enum class TopKWeights {
  renormalized,  // softmax over the chosen logits: the full softmax renormalised
  softmax,       // the full softmax, not renormalised
};

template <>
struct EnumNames<TopKWeights> {
  static constexpr const char* type = "TopKWeights";
  static constexpr const char* names[] = {"renormalized", "softmax"};
};

/// Fused top-k routing: the K best experts of each token, best first, their weights, and where each
/// slot's row goes when rows are grouped by expert.
///
/// Only FFN experts have a group, counted up in their order: slots of zero, copy and constant
/// experts get row -1 and never enter the GEMM. Rows are in token order inside a group, so they are
/// the same in every run.
///
/// Optionally the logits are first divided by their unbiased standard deviation and multiplied by
/// `normStd` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
/// `givesShare` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
/// others share the 1. Equal logits go to the lowest expert id, and have no spread to normalise.
///
/// NaN counts as minus infinity, so ids are always distinct and valid. A row with NaN or plus
/// infinity has no softmax, as in the published codes: its weights are NaN, so that it shows in the
/// logits. Minus infinity is an expert that is never chosen.
struct TopK {
  static constexpr const char* kName = "topK";

  Tensor logits;                  // [T, E] f32
  std::vector<ExpertKind> kinds;  // of the E experts
  int64_t top_k = 0;              // K, 1 to E
  TopKWeights kind = TopKWeights::renormalized;
  float norm_std = 0;                // 0: no logits norm
  std::vector<uint8_t> gives_share;  // E flags, or empty
  Tensor ids;                        // [T, K] i32
  Tensor weights;                    // [T, K] f32
  Tensor offsets;               // [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1]
  Tensor rows;                  // [T, K] i32, the row of each slot; -1: no row
  std::vector<int32_t> groups;  // of each expert; -1: none

  static constexpr auto fields() {
    return std::tuple(input("logits", &TopK::logits), value("kinds", &TopK::kinds),
                      value("topK", &TopK::top_k), value("weights", &TopK::kind),
                      setting("normStd", &TopK::norm_std),
                      setting("givesShare", &TopK::gives_share), output("ids", &TopK::ids),
                      output("weights", &TopK::weights), output("offsets", &TopK::offsets),
                      output("rows", &TopK::rows));
  }
  void check() const {
    const Check check(kName);
    check.rank("logits", logits, 2);
    check.dtype("logits", logits, {DType::f32});
    check.contiguous("logits", logits);
    const int64_t E = logits.dim(1);
    check.that(E <= kMaxExperts, "logits", "of at most 1024 experts", E);
    check.that(static_cast<int64_t>(kinds.size()) == E, "kinds", "one for each expert",
               kinds.size());
    check.that(top_k >= 1 && top_k <= E, "topK", "from 1 to the number of experts", top_k);
    check.that(gives_share.empty() || static_cast<int64_t>(gives_share.size()) == E, "givesShare",
               "one flag for each expert", gives_share.size());
    check.that(norm_std >= 0, "normStd", "at least 0", norm_std);
  }
  void make_outputs(const Make& make) {
    int32_t next = 0;
    for (ExpertKind expert : kinds) groups.push_back(expert == ExpertKind::ffn ? next++ : -1);
    const Shape slots{logits.dim(0), top_k};
    ids = make(slots, DType::i32);
    weights = make(slots, DType::f32);
    offsets = make({next + 1}, DType::i32);
    rows = make(slots, DType::i32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
