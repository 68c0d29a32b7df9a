import type { Visible } from '../layers/step.ts'
import type { VisibilityRules } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { type ScheduledChunk, startOf, tokensOf } from './chunk.ts'
import { usesHistory } from './sampling.ts'

/** The tensors that a step's numbers are copied to. */
export interface StepTensors extends ops.SampleInputs {
  ids: Tensor
  positions: Tensor
  slots: Tensor
  visible: Record<string, Visible>
  sequences: Tensor
  blockTable: Tensor
  logitRows: Tensor
}

export interface InputShape {
  tokens: number
  sequences: number
  /** Columns of the block table. */
  tableWidth: number
  sampled: number
  logitRows: number
}

/** Elements between which an input may begin: 64 bytes. */
const unit = 16

/**
 * Where a step's inputs lie in one list, so that all of them are one copy. The history comes last: its length is
 * no part of the shape.
 */
export class InputLayout {
  readonly #rules: VisibilityRules
  readonly #starts: Record<string, number> = {}
  readonly #shapes: Record<string, number[]>
  /** Elements up to the history's end. */
  readonly length: number

  /** @param capacity tokens of the cache; no step's histories are longer together */
  constructor(
    { tokens, sequences, tableWidth, sampled, logitRows }: InputShape,
    rules: VisibilityRules,
    capacity: number,
  ) {
    this.#rules = rules
    const visible = Object.entries(rules).flatMap(([name, rule]) => [
      [`starts ${name}`, [tokens]],
      ...(rule.end ? [[`ends ${name}`, [tokens]]] : []),
    ])
    this.#shapes = {
      ids: [tokens],
      positions: [tokens],
      slots: [tokens],
      ...Object.fromEntries(visible),
      sequences: [tokens],
      logitRows: [sampled + logitRows],
      blockTable: [sequences, tableWidth],
      options: [sampled, ops.sampleOptions.length],
      counts: [sampled, ops.sampleCounts.length],
      historyOffsets: [sampled + 1],
      history: [capacity],
    }
    let end = 0
    for (const [name, shape] of Object.entries(this.#shapes)) {
      this.#starts[name] = end
      end += Math.ceil(shape.reduce((n, dim) => n * dim, 1) / unit) * unit
    }
    this.length = end
  }

  /** The inputs as parts of `list`. */
  views(list: Tensor): StepTensors {
    const view = (name: string): Tensor =>
      list.view(this.#starts[name]!, this.#shapes[name]!, name === 'options' ? 'f32' : 'i32')
    const positions = view('positions')
    const visible = Object.entries(this.#rules).map(([name, rule]) => [
      name,
      { starts: view(`starts ${name}`), ends: rule.end ? view(`ends ${name}`) : positions },
    ])
    return {
      ids: view('ids'),
      positions,
      slots: view('slots'),
      visible: Object.fromEntries(visible),
      sequences: view('sequences'),
      blockTable: view('blockTable'),
      logitRows: view('logitRows'),
      options: view('options'),
      counts: view('counts'),
      historyOffsets: view('historyOffsets'),
      history: view('history'),
    }
  }

  /** The numbers as they lie in the list. */
  pack(data: StepData): Int32Array {
    const packed = new Int32Array(this.#starts.history! + data.history!.length)
    for (const [name, array] of Object.entries(data)) {
      const bits = new Int32Array(array.buffer, array.byteOffset, array.length)
      packed.set(bits, this.#starts[name]!)
    }
    return packed
  }
}

/** By the names of the layout. */
export type StepData = Record<string, Int32Array | Float32Array>

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

/** The numbers of one step, for each of its tensors. */
export function stepInputs(
  chunks: ScheduledChunk[],
  rules: VisibilityRules,
  tableWidth: number,
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
    const { sequence, numTokens, sample } = chunk
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
    if (sample) sampledRows.push(t - 1)
  }
  return {
    ...{ ids, positions, slots, sequences, blockTable },
    ...visibleInputs(chunks, rules),
    logitRows: Int32Array.from([...sampledRows, ...logitRows]),
    ...sampleInputs(chunks),
  }
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
    data[`starts ${name}`] = Int32Array.from(starts)
    if (rule.end) data[`ends ${name}`] = Int32Array.from(ends)
  }
  return data
}

function sampleInputs(chunks: ScheduledChunk[]): StepData {
  const options: number[] = []
  const counts: number[] = []
  const history: number[] = []
  const historyOffsets = [0]
  for (const { sequence, sample } of chunks) {
    if (!sample) continue
    const { sampling, step, promptLength } = sample
    const named = {
      ...sampling,
      seedLow: (sampling.seed % 2 ** 32) | 0,
      seedHigh: Math.floor(sampling.seed / 2 ** 32),
      step,
      promptLength,
    }
    for (const name of ops.sampleOptions) options.push(named[name])
    for (const name of ops.sampleCounts) counts.push(named[name])
    if (usesHistory(sampling)) for (const id of sequence.ids) history.push(id)
    historyOffsets.push(history.length)
  }
  return {
    options: Float32Array.from(options),
    counts: Int32Array.from(counts),
    history: Int32Array.from(history),
    historyOffsets: Int32Array.from(historyOffsets),
  }
}
