// Made of csrc/ops/sample.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `sample`.
 *
 * One next token per row of logits.
 *
 * In this order, as transformers does: biases and masks, repetition penalty on prompt and new
 * tokens (Keskar et al. 2019, arXiv:1909.05858, eq. 2: positive logits divided, negative
 * multiplied), frequency and presence penalty on new tokens (OpenAI), temperature, top-k, top-p
 * (Holtzman et al. 2019, arXiv:1904.09751: the smallest set whose mass reaches p), min-p
 * (arXiv:2407.01082), one draw. Temperature 0 takes the best, the lowest id among equals; so does
 * top-p 0. `logprobs` are natural logs of the softmax of the unmodified logits. NaN logits count
 * as minus infinity, so that ids are always valid; whether a row means anything is what
 * `nonFinite` says. Only a masked row may have no token at all: its id is -1, its logprob minus
 * infinity.
 */
export interface SampleInputs {
  /** [>= S, V] f32; the first S rows are sampled */
  logits: Tensor
  /** [S, 6] f32: SampleOption */
  options: Tensor
  /** [S, 5] i32: SampleCount */
  counts: Tensor
  /** [*] i32: the rows' tokens so far, one after the other */
  history: Tensor
  /** [S + 1] i32; an empty range where no penalty is used */
  historyOffsets: Tensor
  /** [M, ceil(V / 32)] i32: bit v % 32 of word v / 32 allows id v; optional */
  masks?: Tensor | undefined
  /** [S] i32: the mask of a row, -1 for none; with masks */
  maskRows?: Tensor | undefined
  /** [*] i32: ids whose logits change, each once a row; optional */
  biasIds?: Tensor | undefined
  /** [*] f32: what is added to them; with biasIds */
  biases?: Tensor | undefined
  /** [S + 1] i32: the rows' parts of both; with biasIds */
  biasOffsets?: Tensor | undefined
  /** ids at and beyond it are never drawn */
  vocabulary: number
  /** N, best ids to report */
  top?: number | undefined
  /** false: every temperature counts as 0, which saves a GPU two launches */
  draws?: boolean | undefined
}

/** What the op `sample` makes. */
export interface SampleOutputs {
  /** [S] i32 */
  ids: Tensor
  /** [S] f32 */
  logprobs: Tensor
  /** [S] i32: the lowest id whose logit is NaN or infinite; -1: none is */
  nonFinite: Tensor
  /** [S, N] i32, best first; with top */
  topIds?: Tensor | undefined
  /** [S, N] f32; with top */
  topLogprobs?: Tensor | undefined
}

/** One next token per row of logits. */
export function sample(plan: Plan, inputs: SampleInputs): SampleOutputs {
  return plan.record('sample', inputs) as SampleOutputs
}
