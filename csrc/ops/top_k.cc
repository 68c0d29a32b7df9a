#include "ops/top_k.h"

#include <cmath>

namespace moe {

void TopK::check() const {
  const Check check(kName);
  check.rank("logits", logits, 2);
  check.dtype("logits", logits, {DType::f32});
  check.contiguous("logits", logits);
  const int64_t E = logits.dim(1);
  check.that(E <= kMaxExperts, "logits", "of at most 1024 experts", E);
  check.that(static_cast<int64_t>(kinds.size()) == E, "kinds", "one for each expert", kinds.size());
  check.that(top_k >= 1 && top_k <= E, "topK", "from 1 to the number of experts", top_k);
  check.that(groups >= 1 && groups <= kMaxGroups && E % groups == 0, "groups",
             "a divisor of the number of experts, at most 32", groups);
  check.that(kept_groups >= 1 && kept_groups <= groups, "keptGroups",
             "from 1 to the number of groups", kept_groups);
  check.that(top_k <= kept_groups * (E / groups), "topK", "at most the experts of the kept groups",
             top_k);
  check.that(kept_groups == groups || group_score == GroupScore::max || E / groups >= 2, "groups",
             "of at least two experts, where two are summed", groups);
  if (choice_bias) {
    check.shape("choiceBias", choice_bias, {E});
    check.dtype("choiceBias", choice_bias, {DType::f32});
    check.that(score != RouterScore::sparsemixer, "choiceBias", "left out for sparsemixer",
               "a tensor");
    check.that(score != RouterScore::one, "choiceBias", "left out where scores are one",
               "a tensor");
  }
  if (adjust || adjust_of) {
    check.rank("adjust", adjust, 2);
    check.shape("adjust", adjust, {adjust.dim(0), E});
    check.dtype("adjust", adjust, {DType::f32});
    check.shape("adjustOf", adjust_of, {logits.dim(0)});
    check.dtype("adjustOf", adjust_of, {DType::i32});
  }
  if (counts) {
    check.shape("counts", counts, {E, 2});
    check.dtype("counts", counts, {DType::i32});
    check.contiguous("counts", counts);
  }
  const bool sums = score == RouterScore::softmax || score == RouterScore::sigmoid;
  check.that(sums || kind == TopKWeights::scores, "weights", "scores, unless of softmax or sigmoid",
             "renormalized");
  check.that(std::isfinite(factor), "factor", "a finite number", factor);
  check.that(jitter >= 0, "jitter", "at least 0", jitter);
  check.that(gives_share.empty() || static_cast<int64_t>(gives_share.size()) == E, "givesShare",
             "one flag for each expert", gives_share.size());
  check.that(gives_share.empty() || score == RouterScore::softmax, "givesShare",
             "left out, unless of softmax", gives_share.size());
  check.that(norm_std >= 0, "normStd", "at least 0", norm_std);
}

}  // namespace moe
