import type { Plan, Tensor } from '../native.ts'

/** Columns of `options` and `counts`, in the order of csrc/ops/sample.h. */
export const sampleOptions = [
  'temperature',
  'topP',
  'minP',
  'repetition',
  'presence',
  'frequency',
] as const
export const sampleCounts = ['topK', 'seedLow', 'seedHigh', 'step', 'promptLength'] as const

export interface SampleInputs {
  /** [S, 6] f32, see `sampleOptions` */
  options: Tensor
  /** [S, 5] i32, see `sampleCounts` */
  counts: Tensor
  /** [*] i32: the rows' tokens so far, one after the other, prompt first */
  history: Tensor
  /** [S + 1] i32; an empty range where a row uses no penalty */
  historyOffsets: Tensor
}

/**
 * One next token for each of the first S rows of logits. In this order: repetition penalty (arXiv:1909.05858,
 * prompt and new tokens), presence and frequency penalty (new tokens), temperature, top-k, top-p
 * (arXiv:1904.09751), min-p (arXiv:2407.01082), one draw. Temperature 0 takes the best, the lowest id among
 * equals. Ids at and beyond `vocabulary` are never drawn.
 *
 * @param logits [>= S, V] f32
 * @returns      ids [S] i32; logprobs [S] f32, of the unmodified softmax; the `top` best [S, top]
 */
export function sample(
  plan: Plan,
  logits: Tensor,
  { options, counts, history, historyOffsets }: SampleInputs,
  vocabulary: number,
  top: number,
): { ids: Tensor; logprobs: Tensor; topIds?: Tensor; topLogprobs?: Tensor } {
  const S = options.shape[0]!
  const ids = plan.empty([S], 'i32')
  const logprobs = plan.empty([S], 'f32')
  const best = top > 0 && {
    topIds: plan.empty([S, top], 'i32'),
    topLogprobs: plan.empty([S, top], 'f32'),
  }
  const { topIds, topLogprobs } = best || {}
  plan.sample(
    logits,
    options,
    counts,
    history,
    historyOffsets,
    ids,
    logprobs,
    topIds,
    topLogprobs,
    vocabulary,
  )
  return { ids, logprobs, ...best }
}
