import type { Adapter } from '../adapters/adapter.ts'
import type { Visible } from '../layers/step.ts'
import type { VisibilityRules } from '../layers/visibility.ts'
import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { drawsOf, type ScheduledChunk, startOf, tokensOf } from './chunk.ts'
import { usesHistory } from './sampling.ts'

/** The tensors that a step's numbers are copied to. */
export interface StepTensors {
  ids: Tensor
  positions: Tensor
  slots: Tensor
  visible: Record<string, Visible>
  sequences: Tensor
  blockTable: Tensor
  logitRows: Tensor
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
  /** Where calls change the routing: [rows, experts of all layers] f32, and the row of each token, -1 for none. */
  adjust: Tensor | undefined
  adjustOf: Tensor | undefined
  /** Where texts have adapters: [T, 1] i32, the adapter of each token, -1 for none. */
  adapterOf: Tensor | undefined
}

export interface InputShape {
  tokens: number
  sequences: number
  /** Columns of the block table. */
  tableWidth: number
  sampled: number
  logitRows: number
  /** Most rows of `adjust`. */
  adjusted: number
  /** Most rows of `masks`. */
  masked: number
  /** Most biases. */
  biased: number
  /** Generation of the adapters that texts have; 0: none has one. */
  adapters: number
}

/**
 * The inputs of a step. The history comes last: its length is no part of the shape.
 *
 * @param experts  of all layers
 * @param capacity tokens of the cache; no step's histories are longer together
 * @param vocabulary width of the logits
 */
export function declareInputs(
  plan: Plan,
  shape: InputShape,
  rules: VisibilityRules,
  experts: number,
  capacity: number,
  vocabulary: number,
): StepTensors {
  const { tokens, sequences, tableWidth, sampled, logitRows, adjusted, masked, biased, adapters } =
    shape
  const i32 = (name: string, ...shape: number[]) => plan.input(name, shape, 'i32')
  const positions = i32('positions', tokens)
  const visible = Object.entries(rules).map(([name, rule]) => {
    const starts = i32(`starts.${name}`, tokens)
    return [name, { starts, ends: rule.end ? i32(`ends.${name}`, tokens) : positions }]
  })
  return {
    ids: i32('ids', tokens),
    positions,
    slots: i32('slots', tokens),
    visible: Object.fromEntries(visible),
    sequences: i32('sequences', tokens),
    logitRows: i32('logitRows', sampled + logitRows),
    blockTable: i32('blockTable', sequences, tableWidth),
    options: plan.input('options', [sampled, ops.sampleOptionNames.length], 'f32'),
    counts: i32('counts', sampled, ops.sampleCountNames.length),
    historyOffsets: i32('historyOffsets', sampled + 1),
    adjust: adjusted > 0 ? plan.input('adjust', [adjusted, experts], 'f32') : undefined,
    adjustOf: adjusted > 0 ? i32('adjustOf', tokens) : undefined,
    adapterOf: adapters > 0 ? i32('adapterOf', tokens, 1) : undefined,
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

/** Fewest columns of a block table. */
const minTableWidth = 8

/**
 * Columns that hold the blocks of the step's longest sequence. Powers of two, so that a growing text needs few
 * plans; never more than the cache has.
 */
export function tableWidthOf(chunks: ScheduledChunk[], numBlocks: number): number {
  const tokens = Math.max(...chunks.map((chunk) => startOf(chunk) + chunk.numTokens))
  const blocks = Math.ceil(tokens / ops.blockTokens)
  return Math.min(numBlocks, 2 ** Math.ceil(Math.log2(Math.max(minTableWidth, blocks))))
}

/**
 * The numbers of one step, for each of its tensors.
 *
 * @param adapterIndex what stands for a text's adapter; default: that it has none
 */
export function stepInputs(
  chunks: ScheduledChunk[],
  rules: VisibilityRules,
  tableWidth: number,
  adapterIndex: (adapter: Adapter | undefined) => number = () => -1,
): StepData {
  const tokens = tokensOf(chunks)
  const perToken = () => new Int32Array(tokens)
  const ids = perToken()
  const positions = perToken()
  const slots = perToken()
  const sequences = perToken()
  const blockTable = new Int32Array(chunks.length * tableWidth)
  const sampledRows: number[] = []
  const logitRows: number[] = []
  let t = 0
  for (const [c, chunk] of chunks.entries()) {
    const { sequence, numTokens } = chunk
    const first = startOf(chunk)
    const blocks = Math.ceil((first + numTokens) / ops.blockTokens)
    blockTable.set(sequence.blocks.slice(0, blocks), c * tableWidth)
    for (let position = first; position < first + numTokens; position++, t++) {
      const block = sequence.blocks[Math.floor(position / ops.blockTokens)]!
      ids[t] = sequence.ids[position] ?? 0
      positions[t] = position
      slots[t] = block * ops.blockTokens + (position % ops.blockTokens)
      sequences[t] = c
    }
    for (let i = chunk.logitRows; i > 0; i--) logitRows.push(t - i)
    for (let i = drawsOf(chunk).length; i > 0; i--) sampledRows.push(t - i)
  }
  return {
    ...{ ids, positions, slots, sequences, blockTable },
    ...visibleInputs(chunks, rules),
    logitRows: Int32Array.from([...sampledRows, ...logitRows]),
    ...sampleInputs(chunks),
    ...maskInputs(chunks),
    ...biasInputs(chunks),
    ...adjustInputs(chunks),
    ...adapterInputs(chunks, adapterIndex),
  }
}

/** Different changes of the routing in a step; chunks of one call share theirs. */
const adjustsOf = (chunks: ScheduledChunk[]): Float32Array[] => [
  ...new Set(chunks.flatMap(({ experts }) => experts ?? [])),
]

/** Powers of two, so that calls that come and go need few plans. */
const roundedUp = (count: number): number => (count === 0 ? 0 : 2 ** Math.ceil(Math.log2(count)))

/** Rows for them. */
export const adjustedRows = (chunks: ScheduledChunk[]): number =>
  roundedUp(adjustsOf(chunks).length)

const samplesOf = (chunks: ScheduledChunk[]) => chunks.flatMap(drawsOf)

/** Rows for the masks of a step. */
export const maskedRows = (chunks: ScheduledChunk[]): number =>
  roundedUp(samplesOf(chunks).filter(({ mask }) => mask).length)

/** Places for all biases of a step. */
export const biasedPlaces = (chunks: ScheduledChunk[]): number =>
  roundedUp(samplesOf(chunks).reduce((n, { sampling }) => n + sampling.bias.size, 0))

function maskInputs(chunks: ScheduledChunk[]): StepData {
  const samples = samplesOf(chunks)
  const given = samples.flatMap(({ mask }) => mask ?? [])
  if (given.length === 0) return {}
  const width = given[0]!.length
  const masks = new Int32Array(given.length * width)
  for (const [row, mask] of given.entries()) masks.set(mask, row * width)
  let row = 0
  return { masks, maskRows: Int32Array.from(samples, ({ mask }) => (mask ? row++ : -1)) }
}

function biasInputs(chunks: ScheduledChunk[]): StepData {
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

function adjustInputs(chunks: ScheduledChunk[]): StepData {
  const rows = adjustsOf(chunks)
  if (rows.length === 0) return {}
  const adjust = new Float32Array(rows.length * rows[0]!.length)
  for (const [r, row] of rows.entries()) adjust.set(row, r * row.length)
  const adjustOf = new Int32Array(tokensOf(chunks))
  let t = 0
  for (const { experts, numTokens } of chunks) {
    adjustOf.fill(experts ? rows.indexOf(experts) : -1, t, t + numTokens)
    t += numTokens
  }
  return { adjust, adjustOf }
}

/** Whether texts of a step have adapters. */
export const hasAdapters = (chunks: ScheduledChunk[]): boolean =>
  chunks.some(({ sequence }) => sequence.adapter !== undefined)

function adapterInputs(
  chunks: ScheduledChunk[],
  indexOf: (adapter: Adapter | undefined) => number,
): StepData {
  if (!hasAdapters(chunks)) return {}
  const each = chunks.map(({ sequence, numTokens }) =>
    Array<number>(numTokens).fill(indexOf(sequence.adapter)),
  )
  return { adapterOf: Int32Array.from(each.flat()) }
}

/** What each token sees, by each rule. Nothing behind the chunk is in the cache yet. */
function visibleInputs(chunks: ScheduledChunk[], rules: VisibilityRules): StepData {
  const data: StepData = {}
  for (const [name, rule] of Object.entries(rules)) {
    const starts: number[] = []
    const ends: number[] = []
    for (const chunk of chunks) {
      const { sequence, numTokens } = chunk
      const first = startOf(chunk)
      const length = Math.max(sequence.ids.length, first + numTokens)
      for (let position = first; position < first + numTokens; position++) {
        starts.push(sequence.startAt(name, position))
        if (rule.end) ends.push(Math.min(rule.end(position, length), first + numTokens - 1))
      }
    }
    data[`starts.${name}`] = Int32Array.from(starts)
    if (rule.end) data[`ends.${name}`] = Int32Array.from(ends)
  }
  return data
}

function sampleInputs(chunks: ScheduledChunk[]): StepData {
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
