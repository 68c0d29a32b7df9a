import type { Adapter } from '../adapters/adapter.ts'
import type { Visible } from '../layers/step.ts'
import type { VisibilityRules } from '../layers/visibility.ts'
import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { drawsOf, type ScheduledChunk, startOf, tokensOf } from './chunk.ts'
import {
  declareSampling,
  roundedUp,
  type SampleShape,
  type SampleTensors,
  type StepData,
  sampleInputs,
} from './sample_inputs.ts'

/** The tensors that a step's numbers are copied to. */
export interface StepTensors extends SampleTensors {
  ids: Tensor
  positions: Tensor
  slots: Tensor
  visible: Record<string, Visible>
  sequences: Tensor
  blockTable: Tensor
  logitRows: Tensor
  /** Where calls change the routing: [rows, experts of all layers] f32, and the row of each token, -1 for none. */
  adjust: Tensor | undefined
  adjustOf: Tensor | undefined
  /** Where texts have adapters: [T, 1] i32, the adapter of each token, -1 for none. */
  adapterOf: Tensor | undefined
}

export interface InputShape extends SampleShape {
  tokens: number
  sequences: number
  /** Columns of the block table. */
  tableWidth: number
  logitRows: number
  /** Most rows of `adjust`. */
  adjusted: number
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
  const { tokens, sequences, tableWidth, sampled, logitRows, adjusted, adapters } = shape
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
    adjust: adjusted > 0 ? plan.input('adjust', [adjusted, experts], 'f32') : undefined,
    adjustOf: adjusted > 0 ? i32('adjustOf', tokens) : undefined,
    adapterOf: adapters > 0 ? i32('adapterOf', tokens, 1) : undefined,
    ...declareSampling(plan, shape, capacity, vocabulary),
  }
}

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
    ...adjustInputs(chunks),
    ...adapterInputs(chunks, adapterIndex),
  }
}

/** Different changes of the routing in a step; chunks of one call share theirs. */
const adjustsOf = (chunks: ScheduledChunk[]): Float32Array[] => [
  ...new Set(chunks.flatMap(({ experts }) => experts ?? [])),
]

/** Rows for them. */
export const adjustedRows = (chunks: ScheduledChunk[]): number =>
  roundedUp(adjustsOf(chunks).length)

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
