#pragma once

#include "core/op.h"

namespace moe {

/// Columns of a row's real options.
enum class SampleOption { temperature, top_p, min_p, repetition, presence, frequency };
/// Columns of a row's whole options. `topK` 0: all; `step` numbers the draw; `promptLength` is of
/// the history.
enum class SampleCount { top_k, seed_low, seed_high, step, prompt_length };

template <>
struct EnumNames<SampleOption> {
  static constexpr const char* type = "SampleOption";
  static constexpr const char* names[] = {"temperature", "topP",     "minP",
                                          "repetition",  "presence", "frequency"};
};
template <>
struct EnumNames<SampleCount> {
  static constexpr const char* type = "SampleCount";
  static constexpr const char* names[] = {"topK", "seedLow", "seedHigh", "step", "promptLength"};
};

/// One next token per row of logits.
///
/// In this order, as transformers does: biases and masks, repetition penalty on prompt and new
/// tokens (Keskar et al. 2019, arXiv:1909.05858, eq. 2: positive logits divided, negative
/// multiplied), frequency and presence penalty on new tokens (OpenAI), temperature, top-k, top-p
/// (Holtzman et al. 2019, arXiv:1904.09751: the smallest set whose mass reaches p), min-p
/// (arXiv:2407.01082), one draw. Temperature 0 takes the best, the lowest id among equals; so does
/// top-p 0. `logprobs` are natural logs of the softmax of the unmodified logits. NaN logits count
/// as minus infinity, so that ids are always valid; whether a row means anything is what
/// `nonFinite` says. Only a masked row may have no token at all: its id is -1, its logprob minus
/// infinity.
struct Sample {
  static constexpr const char* kName = "sample";

  Tensor logits;           // [>= S, V] f32; the first S rows are sampled
  Tensor options;          // [S, 6] f32: SampleOption
  Tensor counts;           // [S, 5] i32: SampleCount
  Tensor history;          // [*] i32: the rows' tokens so far, one after the other
  Tensor history_offsets;  // [S + 1] i32; an empty range where no penalty is used
  Tensor masks;            // [M, ceil(V / 32)] i32: bit v % 32 of word v / 32 allows id v; optional
  Tensor mask_rows;        // [S] i32: the mask of a row, -1 for none; with masks
  Tensor bias_ids;         // [*] i32: ids whose logits change, each once a row; optional
  Tensor biases;           // [*] f32: what is added to them; with biasIds
  Tensor bias_offsets;     // [S + 1] i32: the rows' parts of both; with biasIds
  int64_t vocabulary = 0;  // ids at and beyond it are never drawn
  int64_t top = 0;         // N, best ids to report
  bool draws = true;       // false: every temperature counts as 0, which saves a GPU two launches
  Tensor ids;              // [S] i32
  Tensor logprobs;         // [S] f32
  Tensor non_finite;       // [S] i32: the lowest id whose logit is NaN or infinite; -1: none is
  Tensor top_ids;          // [S, N] i32, best first; with top
  Tensor top_logprobs;     // [S, N] f32; with top
  Tensor scratch;

  static constexpr auto fields() {
    return std::tuple(
        input("logits", &Sample::logits), input("options", &Sample::options),
        input("counts", &Sample::counts), input("history", &Sample::history),
        input("historyOffsets", &Sample::history_offsets), optional("masks", &Sample::masks),
        optional("maskRows", &Sample::mask_rows), optional("biasIds", &Sample::bias_ids),
        optional("biases", &Sample::biases), optional("biasOffsets", &Sample::bias_offsets),
        value("vocabulary", &Sample::vocabulary), setting("top", &Sample::top),
        setting("draws", &Sample::draws), output("ids", &Sample::ids),
        output("logprobs", &Sample::logprobs), output("nonFinite", &Sample::non_finite),
        extra("topIds", &Sample::top_ids), extra("topLogprobs", &Sample::top_logprobs));
  }
  void check() const;
  void check_gpu() const;
  void make_outputs(const Make& make);
  /// Of a GPU's scratch, beside eight bytes a logit: for each row, and for each part of it.
  static constexpr size_t kRowBytes = 12320, kPartBytes = 36, kPartWidth = 4096;
  size_t scratch_bytes(const Device* device) const {
    const auto rows = static_cast<size_t>(ids.dim(0)), width = static_cast<size_t>(logits.dim(1));
    const size_t parts = width / kPartWidth + 1;
    return rows * (8 * width + (device ? kRowBytes + parts * kPartBytes : 0));
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
