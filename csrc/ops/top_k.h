#pragma once

#include "core/op.h"

namespace moe {

/// What a chosen expert's weight is.
enum class TopKWeights {
  renormalized,  // softmax over the chosen logits: the full softmax renormalised
  softmax,       // the full softmax, not renormalised
};

/// Fused top-k routing: the K best experts of each token, best first, their weights, and where each
/// slot's row goes when rows are grouped by expert.
///
/// Only FFN experts have a group: slots of zero, copy and constant experts get row -1 and never
/// enter the GEMM. Rows are in token order inside a group, so they are the same in every run.
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
  std::vector<int32_t> groups;       // group of each expert; -1: none
  Tensor offsets;  // [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1]
  Tensor rows;     // [T, K] i32, the row of each slot

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
    check.that(static_cast<int64_t>(groups.size()) == E, "groups", "one for each expert",
               groups.size());
    check.rank("offsets", offsets, 1);
    check.dtype("offsets", offsets, {DType::i32});
    for (int32_t group : groups)
      check.that(group >= -1 && group + 1 < offsets.dim(0), "groups", "-1 or a group index", group);
    check.shape("rows", rows, {T, K});
    check.dtype("rows", rows, {DType::i32});
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
