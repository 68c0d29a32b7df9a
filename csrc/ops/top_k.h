#pragma once

#include "core/op.h"

namespace moe {

/// What a chosen expert's weight is.
enum class TopKWeights {
  renormalized,  // softmax over the chosen logits: the full softmax renormalised
  softmax,       // the full softmax, not renormalised
};

/// The K best experts of each token and their weights, best first.
///
/// Optionally the logits are first divided by their unbiased standard deviation and multiplied by
/// `norm_std` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
/// `gives_share` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
/// others share the 1. Equal logits go to the lowest expert id. NaN counts as minus infinity, so
/// ids stay distinct and weights finite; equal logits have no spread and are not normalised.
struct TopK {
  static constexpr const char* kName = "top_k";

  Tensor logits;   // [T, E] f32
  Tensor ids;      // [T, K] i32
  Tensor weights;  // [T, K] f32
  TopKWeights kind;
  float norm_std;                    // 0: no logits norm
  std::vector<uint8_t> gives_share;  // E flags, or empty

  void check() const {
    const Check check(kName);
    check.rank("logits", logits, 2);
    check.dtype("logits", logits, {DType::f32});
    check.contiguous("logits", logits);
    check.rank("ids", ids, 2);
    check.dtype("ids", ids, {DType::i32});
    const int64_t T = logits.dim(0), E = logits.dim(1), K = ids.dim(1);
    check.that(K >= 1 && K <= E, "ids", "1 to E wide", ids.shape.text());
    check.that(E <= kMaxExperts, "logits", "of at most 1024 experts", E);
    check.shape("ids", ids, {T, K});
    check.shape("weights", weights, {T, K});
    check.dtype("weights", weights, {DType::f32});
    check.that(gives_share.empty() || static_cast<int64_t>(gives_share.size()) == E, "gives_share",
               "one flag for each expert", gives_share.size());
    check.that(norm_std >= 0, "norm_std", "at least 0", norm_std);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
