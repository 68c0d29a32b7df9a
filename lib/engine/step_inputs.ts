import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { usesHistory } from './sampling.ts'
import { type Slice, tokensOf } from './slice.ts'

/** The tensors that a step's numbers are copied to. */
export interface StepTensors {
  ids: Tensor
  positions: Tensor
  slots: Tensor
  starts: Tensor
  sequences: Tensor
  blockTable: Tensor
  logitRows: Tensor
  options: Tensor
  counts: Tensor
  historyOffsets: Tensor
  history: Tensor
}

type StepData = Record<keyof StepTensors, Int32Array | Float32Array>

export interface InputShape {
  tokens: number
  sequences: number
  drawn: number
  logitRows: number
}

/** The inputs of a step. The history comes last: its length is no part of the shape. */
export function declareInputs(
  plan: Plan,
  { tokens, sequences, drawn, logitRows }: InputShape,
  numBlocks: number,
): StepTensors {
  const i32 = (name: string, ...shape: number[]) => plan.input(name, shape, 'i32')
  return {
    ids: i32('ids', tokens),
    positions: i32('positions', tokens),
    slots: i32('slots', tokens),
    starts: i32('starts', tokens),
    sequences: i32('sequences', tokens),
    logitRows: i32('logitRows', drawn + logitRows),
    blockTable: i32('blockTable', sequences, numBlocks),
    options: plan.input('options', [drawn, ops.sampleOptionNames.length], 'f32'),
    counts: i32('counts', drawn, ops.sampleCountNames.length),
    historyOffsets: i32('historyOffsets', drawn + 1),
    history: i32('history', numBlocks * ops.blockTokens), // drawing sequences share no blocks
  }
}

/** The numbers of one step, for each of its tensors. */
export function stepInputs(slices: Slice[], blocksPerSequence: number): StepData {
  const tokens = tokensOf(slices)
  const perToken = () => new Int32Array(tokens)
  const [ids, positions, slots, starts, sequences] = [
    perToken(),
    perToken(),
    perToken(),
    perToken(),
    perToken(),
  ]
  const blockTable = new Int32Array(slices.length * blocksPerSequence)
  const drawnRows: number[] = []
  const logitRows: number[] = []
  let t = 0
  for (const [s, { sequence, take, ahead, logitRows: rows, draw }] of slices.entries()) {
    blockTable.set(sequence.blocks, s * blocksPerSequence)
    for (let i = 0; i < take; i++, t++) {
      const position = (ahead ? sequence.ids.length : sequence.cached) + i
      const block = sequence.blocks[Math.floor(position / ops.blockTokens)]!
      ids[t] = sequence.ids[position] ?? 0
      positions[t] = position
      slots[t] = block * ops.blockTokens + (position % ops.blockTokens)
      starts[t] = sequence.firstAt(position)
      sequences[t] = s
    }
    for (let i = rows; i > 0; i--) logitRows.push(t - i)
    if (draw) drawnRows.push(t - 1)
  }
  const allRows = Int32Array.from([...drawnRows, ...logitRows])
  return {
    ids,
    positions,
    slots,
    starts,
    sequences,
    blockTable,
    logitRows: allRows,
    ...drawInputs(slices),
  }
}

function drawInputs(
  slices: Slice[],
): Pick<StepData, 'options' | 'counts' | 'history' | 'historyOffsets'> {
  const drawing = slices.filter((slice) => slice.draw)
  const options: number[] = []
  const counts: number[] = []
  const history: number[] = []
  const historyOffsets = [0]
  for (const { sequence, draw } of drawing) {
    const { sampling, step, promptLength } = draw!
    const named = {
      ...sampling,
      seedLow: (sampling.seed % 2 ** 32) | 0,
      seedHigh: Math.floor(sampling.seed / 2 ** 32),
      step,
      promptLength,
    }
    for (const name of ops.sampleOptionNames) options.push(named[name])
    for (const name of ops.sampleCountNames) counts.push(named[name])
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
