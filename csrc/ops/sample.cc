#include "ops/sample.h"

#include "core/gpu_limits.h"

namespace moe {

void Sample::check() const {
  const Check check(kName);
  check.rank("logits", logits, 2);
  check.dtype("logits", logits, {DType::f32});
  check.rank("options", options, 2);
  const int64_t S = options.dim(0);
  check.that(S <= logits.dim(0), "options", "no more rows than logits has", S);
  check.shape("options", options, {S, int64_t{std::size(EnumNames<SampleOption>::names)}});
  check.dtype("options", options, {DType::f32});
  check.shape("counts", counts, {S, int64_t{std::size(EnumNames<SampleCount>::names)}});
  check.dtype("counts", counts, {DType::i32});
  check.rank("history", history, 1);
  check.dtype("history", history, {DType::i32});
  check.shape("historyOffsets", history_offsets, {S + 1});
  check.dtype("historyOffsets", history_offsets, {DType::i32});
  check.that(bool(masks) == bool(mask_rows), "maskRows", "given with masks", bool(mask_rows));
  if (masks) {
    check.rank("masks", masks, 2);
    check.shape("masks", masks, {masks.dim(0), (logits.dim(1) + 31) / 32});
    check.dtype("masks", masks, {DType::i32});
    check.shape("maskRows", mask_rows, {S});
    check.dtype("maskRows", mask_rows, {DType::i32});
  }
  check.that(bool(bias_ids) == bool(biases) && bool(bias_ids) == bool(bias_offsets), "biasIds",
             "given with biases and biasOffsets", bool(bias_ids));
  if (bias_ids) {
    check.rank("biasIds", bias_ids, 1);
    check.dtype("biasIds", bias_ids, {DType::i32});
    check.shape("biases", biases, {bias_ids.dim(0)});
    check.dtype("biases", biases, {DType::f32});
    check.shape("biasOffsets", bias_offsets, {S + 1});
    check.dtype("biasOffsets", bias_offsets, {DType::i32});
  }
  check.that(vocabulary >= 1 && vocabulary <= logits.dim(1), "vocabulary", "1 to V", vocabulary);
  check.that(top >= 0 && top <= vocabulary, "top", "0 to the vocabulary", top);
}

void Sample::check_gpu() const {
  if (options.dim(0) > GpuLimits::kSampleRows || logits.dim(1) > GpuLimits::kSampleWidth)
    fail(Code::unsupported, kName, ": logits must be at most [", GpuLimits::kSampleRows, ", ",
         GpuLimits::kSampleWidth, "] on a GPU, got ", logits.shape.text());
}

void Sample::make_outputs(const Make& make) {
  const int64_t S = options.dim(0);
  ids = make({S}, DType::i32);
  logprobs = make({S}, DType::f32);
  non_finite = make({S}, DType::i32);
  if (top == 0) return;
  top_ids = make({S, top}, DType::i32);
  top_logprobs = make({S, top}, DType::f32);
}

}  // namespace moe
