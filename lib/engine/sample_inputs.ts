import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { drawsOf, type SampleRequest } from './chunk.ts'
import { usesHistory } from './sampling.ts'

/** The tensors that `sample` reads beside the logits. */
export interface SampleTensors {
  options: Tensor
  counts: Tensor
  historyOffsets: Tensor
  history: Tensor
  /** Where tokens are constrained: [rows, words] i32, and the row of each sampled one, -1 for none. */
  masks: Tensor | undefined
  maskRows: Tensor | undefined
  /** Where logits are biased. */
  biasIds: Tensor | undefined
  biases: Tensor | undefined
  biasOffsets: Tensor | undefined
}

export interface SampleShape {
  sampled: number
  /** Most rows of `masks`. */
  masked: number
  /** Most biases. */
  biased: number
}

/** A text, and what a step draws for it. */
export interface DrawnText {
  sequence: { readonly ids: readonly number[] }
  scores?: readonly SampleRequest[] | undefined
  sample?: SampleRequest | undefined
}

/**
 * Declares what `sample` reads, behind all other inputs: the history comes last, since its length is no part of the
 * shape.
 *
 * @param capacity tokens of the cache; no step's histories are longer together
 * @param vocabulary width of the logits
 */
export function declareSampling(
  plan: Plan,
  { sampled, masked, biased }: SampleShape,
  capacity: number,
  vocabulary: number,
): SampleTensors {
  const i32 = (name: string, ...shape: number[]) => plan.input(name, shape, 'i32')
  return {
    options: plan.input('options', [sampled, ops.sampleOptionNames.length], 'f32'),
    counts: i32('counts', sampled, ops.sampleCountNames.length),
    historyOffsets: i32('historyOffsets', sampled + 1),
    masks: masked > 0 ? i32('masks', masked, Math.ceil(vocabulary / 32)) : undefined,
    maskRows: masked > 0 ? i32('maskRows', sampled) : undefined,
    biasIds: biased > 0 ? i32('biasIds', biased) : undefined,
    biases: biased > 0 ? plan.input('biases', [biased], 'f32') : undefined,
    biasOffsets: biased > 0 ? i32('biasOffsets', sampled + 1) : undefined,
    history: i32('history', capacity),
  }
}

/** By the names that inputs are declared under. */
export type StepData = { [name: string]: Int32Array | Float32Array }

/** Powers of two, so that calls that come and go need few plans. */
export const roundedUp = (count: number): number =>
  count === 0 ? 0 : 2 ** Math.ceil(Math.log2(count))

const samplesOf = (chunks: readonly DrawnText[]) => chunks.flatMap(drawsOf)

/** Rows for the masks of a step. */
export const maskedRows = (chunks: readonly DrawnText[]): number =>
  roundedUp(samplesOf(chunks).filter(({ mask }) => mask).length)

/** Places for all biases of a step. */
export const biasedPlaces = (chunks: readonly DrawnText[]): number =>
  roundedUp(samplesOf(chunks).reduce((n, { sampling }) => n + sampling.bias.size, 0))

function maskInputs(chunks: readonly DrawnText[]): StepData {
  const samples = samplesOf(chunks)
  const given = samples.flatMap(({ mask }) => mask ?? [])
  if (given.length === 0) return {}
  const width = given[0]!.length
  const masks = new Int32Array(given.length * width)
  for (const [row, mask] of given.entries()) masks.set(mask, row * width)
  let row = 0
  return { masks, maskRows: Int32Array.from(samples, ({ mask }) => (mask ? row++ : -1)) }
}

function biasInputs(chunks: readonly DrawnText[]): StepData {
  const all = samplesOf(chunks).map(({ sampling }) => [...sampling.bias])
  const flat = all.flat()
  if (flat.length === 0) return {}
  const offsets = [0]
  for (const { length } of all) offsets.push(offsets.at(-1)! + length)
  return {
    biasIds: Int32Array.from(flat, ([id]) => id),
    biases: Float32Array.from(flat, ([, bias]) => bias),
    biasOffsets: Int32Array.from(offsets),
  }
}

function optionInputs(chunks: readonly DrawnText[]): StepData {
  const options: number[] = []
  const counts: number[] = []
  const history: number[] = []
  const historyOffsets = [0]
  for (const chunk of chunks)
    for (const { sampling, step, promptLength } of drawsOf(chunk)) {
      const named = {
        ...sampling,
        seedLow: (sampling.seed % 2 ** 32) | 0,
        seedHigh: Math.floor(sampling.seed / 2 ** 32),
        step,
        promptLength,
      }
      for (const name of ops.sampleOptionNames) options.push(named[name])
      for (const name of ops.sampleCountNames) counts.push(named[name])
      if (usesHistory(sampling)) for (const id of chunk.sequence.ids) history.push(id)
      historyOffsets.push(history.length)
    }
  return {
    options: Float32Array.from(options),
    counts: Int32Array.from(counts),
    history: Int32Array.from(history),
    historyOffsets: Int32Array.from(historyOffsets),
  }
}

/** The numbers of the inputs that `declareSampling` declares. */
export const sampleInputs = (chunks: readonly DrawnText[]): StepData => ({
  ...optionInputs(chunks),
  ...maskInputs(chunks),
  ...biasInputs(chunks),
})
