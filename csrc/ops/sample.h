#pragma once

#include "core/op.h"

namespace moe {

/// One next token per row of logits.
///
/// In this order, as transformers does: repetition penalty on prompt and new tokens (Keskar et al.
/// 2019, arXiv:1909.05858, eq. 2: positive logits divided, negative multiplied), frequency and
/// presence penalty on new tokens (OpenAI), temperature, top-k, top-p (Holtzman et al. 2019,
/// arXiv:1904.09751: the smallest set whose mass reaches p), min-p (arXiv:2407.01082), one draw.
/// Temperature 0 takes the best, the lowest id among equals. NaN logits count as minus infinity.
/// `logprobs` are natural logs of the softmax of the unmodified logits.
struct Sample {
  static constexpr const char* kName = "sample";

  // Columns of `options` and `counts`.
  enum Option { temperature, top_p, min_p, repetition, presence, frequency, kOptions };
  enum Count { top_k, seed_low, seed_high, step, prompt_length, kCounts };

  Tensor logits;   // [>= S, V] f32; the first S rows are sampled
  Tensor options;  // [S, 6] f32
  Tensor counts;   // [S, 5] i32; top_k 0: all; step numbers the draw; prompt_length: of history
  Tensor history;  // [*] i32: the rows' tokens so far, one after the other
  Tensor history_offsets;  // [S + 1] i32; an empty range where no penalty is used
  Tensor ids;              // [S] i32
  Tensor logprobs;         // [S] f32
  Tensor top_ids;          // [S, N] i32, best first; optional
  Tensor top_logprobs;     // [S, N] f32; optional
  int64_t vocabulary;      // ids at and beyond it are never drawn
  Tensor scratch;

  void check() const;
  size_t scratch_bytes(const Device*) const {
    // Eight bytes a logit; on a GPU sixteen more for each 4096 of them.
    const auto rows = static_cast<size_t>(ids.dim(0)), width = static_cast<size_t>(logits.dim(1));
    return rows * (8 * width + 16 * (width / 4096 + 1));
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
