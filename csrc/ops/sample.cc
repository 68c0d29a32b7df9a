#include "ops/sample.h"

namespace moe {

void Sample::check() const {
  const Check check(kName);
  check.rank("logits", logits, 2);
  check.dtype("logits", logits, {DType::f32});
  check.rank("ids", ids, 1);
  check.dtype("ids", ids, {DType::i32});
  const int64_t S = ids.dim(0);
  check.that(S <= logits.dim(0), "ids", "no longer than logits has rows", S);
  check.shape("logprobs", logprobs, {S});
  check.dtype("logprobs", logprobs, {DType::f32});
  check.shape("options", options, {S, kOptions});
  check.dtype("options", options, {DType::f32});
  check.shape("counts", counts, {S, kCounts});
  check.dtype("counts", counts, {DType::i32});
  check.rank("history", history, 1);
  check.dtype("history", history, {DType::i32});
  check.shape("history_offsets", history_offsets, {S + 1});
  check.dtype("history_offsets", history_offsets, {DType::i32});
  check.that(vocabulary >= 1 && vocabulary <= logits.dim(1), "vocabulary", "1 to V", vocabulary);
  if (!top_ids) return;
  check.rank("top_ids", top_ids, 2);
  check.shape("top_ids", top_ids, {S, top_ids.dim(1)});
  check.dtype("top_ids", top_ids, {DType::i32});
  check.that(top_ids.dim(1) <= vocabulary, "top_ids", "at most V wide", top_ids.dim(1));
  check.shape("top_logprobs", top_logprobs, top_ids.shape);
  check.dtype("top_logprobs", top_logprobs, {DType::f32});
}

}  // namespace moe
