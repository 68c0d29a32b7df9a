#pragma once

#include "core/op.h"
#include "ops/expert_kind.h"

namespace moe {

/// How a logit becomes a score.
enum class RouterScore {
  softmax,      // over all E experts
  sigmoid,      // of each logit alone
  identity,     // the logit itself
  one,          // 1, and 0 where the logit is minus infinity
  sparsemixer,  // softmax over the logits near the chosen one, among those not yet chosen
};
template <>
struct EnumNames<RouterScore> {
  static constexpr const char* type = "RouterScore";
  static constexpr const char* names[] = {"softmax", "sigmoid", "identity", "one", "sparsemixer"};
};

/// What a chosen expert's weight is.
enum class TopKWeights {
  renormalized,  // its score's share of the chosen ones' sum; for softmax: softmax over the chosen
  scores,        // its score
};
template <>
struct EnumNames<TopKWeights> {
  static constexpr const char* type = "TopKWeights";
  static constexpr const char* names[] = {"renormalized", "scores"};
};

/// What a group of experts is worth where only some groups are kept.
enum class GroupScore {
  max,   // its best expert
  top2,  // the sum of its two best
};
template <>
struct EnumNames<GroupScore> {
  static constexpr const char* type = "GroupScore";
  static constexpr const char* names[] = {"max", "top2"};
};

/// Fused top-k routing: the K best experts of each token, best first, their weights, and where each
/// slot's row goes when rows are grouped by expert.
///
///   s = score(z)        c = s + choiceBias, -inf outside the kept groups
///   ids = K largest c   w = s[ids] * factor, or s[ids] / (sum of s[ids]) * factor
///
/// That is Mixtral's and Qwen's router (softmax), DeepSeek-V2's (softmax, groups by `max`),
/// DeepSeek-V3's (arXiv:2412.19437, equations 12 to 16: sigmoid, bias, groups by `top2`; its code
/// adds 1e-20 to the sum), LongCat-Flash's (softmax, bias) and LLaMA-MoE's without scores (one).
/// Without a bias and with groups by `max`, c is the logit, which orders experts as their scores
/// do, without rounding.
///
/// Groups are E / groups experts in a row. `sparsemixer` is PhiMoE's (arXiv:2409.12136, the
/// published code): the best logit z_a weighs what softmax gives it among the experts i with
/// (z_a - z_i) / max(|z_i|, z_a) <= 2 jitter; the next is chosen and weighed so among the rest.
///
/// Only FFN experts have a row: slots of zero, copy and constant experts get row -1 and never enter
/// the GEMM. Rows are in token order inside an expert, so they are the same in every run.
///
/// Optionally the logits are first divided by their unbiased standard deviation and multiplied by
/// `normStd` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
/// `givesShare` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
/// others share the 1. Equal c go to the lowest expert id, and equal logits have no spread to
/// normalise.
///
/// `adjust` changes the choice of some tokens: row adjustOf[t] is added to token t's logits, behind
/// a logits norm; minus infinity disables an expert, plus infinity forces it: it keeps its logit
/// and is chosen before all others, whatever its group. `counts` counts how often experts are
/// chosen.
///
/// NaN counts as minus infinity, so ids are always distinct and valid. A row with NaN or plus
/// infinity, before or behind `adjust`, has no softmax, as in the published codes: its weights are
/// NaN under any score, so that it shows in the logits. Minus infinity is an expert that is chosen
/// last and has a score of 0.
struct TopK {
  static constexpr const char* kName = "topK";

  Tensor logits;                  // [T, E] f32
  Tensor choice_bias;             // [E] f32, added to scores to choose by, not to weigh by
  Tensor adjust;                  // [R, E] f32, may be a column slice; with adjustOf
  Tensor adjust_of;               // [T] i32, row of adjust; -1: none
  Tensor counts;                  // [E, 2] i32: low and high words of numbers that grow
  std::vector<ExpertKind> kinds;  // of the E experts
  int64_t top_k = 0;              // K, 1 to the experts of the kept groups
  RouterScore score = RouterScore::softmax;
  TopKWeights kind = TopKWeights::renormalized;
  float factor = 1;         // of the weights
  int64_t groups = 1;       // a divisor of E, at most 32
  int64_t kept_groups = 1;  // groups that a token may choose from
  GroupScore group_score = GroupScore::max;
  float jitter = 0;                  // of sparsemixer
  float norm_std = 0;                // 0: no logits norm
  std::vector<uint8_t> gives_share;  // E flags, or empty
  Tensor ids;                        // [T, K] i32
  Tensor weights;                    // [T, K] f32
  Tensor offsets;  // [G + 1] i32, rows of FFN expert g are offsets[g] to offsets[g + 1]
  Tensor rows;     // [T, K] i32, the row of each slot; -1: no row
  std::vector<int32_t> ffn_of;  // which FFN expert each expert is; -1: none

  static constexpr auto fields() {
    return std::tuple(input("logits", &TopK::logits), optional("choiceBias", &TopK::choice_bias),
                      optional("adjust", &TopK::adjust), optional("adjustOf", &TopK::adjust_of),
                      optional_update("counts", &TopK::counts), value("kinds", &TopK::kinds),
                      value("topK", &TopK::top_k), setting("score", &TopK::score),
                      value("weights", &TopK::kind), setting("factor", &TopK::factor),
                      setting("groups", &TopK::groups), setting("keptGroups", &TopK::kept_groups),
                      setting("groupScore", &TopK::group_score), setting("jitter", &TopK::jitter),
                      setting("normStd", &TopK::norm_std),
                      setting("givesShare", &TopK::gives_share), output("ids", &TopK::ids),
                      output("weights", &TopK::weights), output("offsets", &TopK::offsets),
                      output("rows", &TopK::rows));
  }
  void check() const;
  void make_outputs(const Make& make) {
    int32_t next = 0;
    for (ExpertKind expert : kinds) ffn_of.push_back(expert == ExpertKind::ffn ? next++ : -1);
    const Shape slots{logits.dim(0), top_k};
    ids = make(slots, DType::i32);
    weights = make(slots, DType::f32);
    offsets = make({next + 1}, DType::i32);
    rows = make(slots, DType::i32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024, kMaxGroups = 32;

  /// Experts are compared by what is made of their scores, and not by their logits.
  bool by_score() const {
    return choice_bias || (kept_groups < groups && group_score == GroupScore::top2);
  }
};

}  // namespace moe
