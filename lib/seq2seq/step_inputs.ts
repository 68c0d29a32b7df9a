import type { StepData } from '../engine/sample_inputs.ts'
import type { Plan, Tensor } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import type { Segments } from '../routers/router.ts'
import type { Looks, Places } from './attention.ts'

/** A text's tokens in a step of one stack. */
export interface Run {
  ids: readonly number[]
  /** Position of the first of them. */
  first: number
  /** Blocks of the whole text, in order. */
  blocks: readonly number[]
  /** The encoder's blocks and tokens, in a step of the decoder. */
  source?: { blocks: readonly number[]; tokens: number }
}

/** What the shape of a stack's inputs depends on. */
export interface RunsShape {
  tokens: number
  texts: number
  /** Columns of the block table. */
  width: number
  /** The same of the encoder's blocks; 0 in the encoder itself. */
  sourceWidth: number
}

/** Powers of two, so that texts of other lengths need few plans. */
const widthOf = (lists: readonly (readonly number[])[]): number =>
  2 ** Math.ceil(Math.log2(Math.max(8, ...lists.map(({ length }) => length))))

export const shapeOf = (runs: readonly Run[]): RunsShape => ({
  tokens: runs.reduce((n, { ids }) => n + ids.length, 0),
  texts: runs.length,
  width: widthOf(runs.map(({ blocks }) => blocks)),
  sourceWidth: runs[0]?.source ? widthOf(runs.map(({ source }) => source!.blocks)) : 0,
})

/** The inputs of a step of one stack. */
export interface StackTensors {
  ids: Tensor
  places: Places
  /** Absent in the encoder. */
  looks: Looks | undefined
  segments: Segments
}

/** @param crowded some text has more tokens than an expert takes */
export function declareStack(plan: Plan, shape: RunsShape, crowded: boolean): StackTensors {
  const { tokens, texts, width, sourceWidth } = shape
  const i32 = (name: string, ...of: number[]) => plan.input(name, of, 'i32')
  const ids = i32('ids', tokens)
  const positions = i32('positions', tokens)
  const shared = { starts: i32('starts', tokens), sequences: i32('sequences', tokens) }
  const offsets = i32('segments', texts + 1)
  const blockTable = i32('blockTable', texts, width)
  const slots = i32('slots', tokens)
  const decodes = sourceWidth > 0
  const ends = decodes ? positions : i32('ends', tokens)
  const looks = decodes
    ? { ...shared, ends: i32('ends', tokens), blockTable: i32('sourceTable', texts, sourceWidth) }
    : undefined
  return {
    ids,
    places: { ...shared, positions, slots, ends, blockTable },
    looks,
    segments: { offsets, tokens: crowded ? tokens : 1 },
  }
}

function table(lists: readonly (readonly number[])[], width: number): Int32Array {
  const out = new Int32Array(lists.length * width)
  for (const [row, blocks] of lists.entries()) out.set(blocks, row * width)
  return out
}

/** Their numbers. `ends` is the last token that is seen: of the text itself in the encoder, of its source in the decoder. */
export function stackInputs(runs: readonly Run[], shape: RunsShape): StepData {
  const { tokens, width, sourceWidth } = shape
  const per = () => new Int32Array(tokens)
  const data = { ids: per(), positions: per(), slots: per(), sequences: per(), ends: per() }
  const segments = [0]
  let t = 0
  for (const [b, { ids, first, blocks, source }] of runs.entries()) {
    for (const [i, id] of ids.entries()) {
      const position = first + i
      data.ids[t] = id
      data.positions[t] = position
      data.slots[t] =
        blocks[Math.floor(position / blockTokens)]! * blockTokens + (position % blockTokens)
      data.sequences[t] = b
      data.ends[t] = (source?.tokens ?? ids.length) - 1
      t++
    }
    segments.push(t)
  }
  const blocksOf = runs.map(({ blocks }) => blocks)
  return {
    ...data,
    starts: per(),
    segments: Int32Array.from(segments),
    blockTable: table(blocksOf, width),
    ...(sourceWidth > 0 && {
      sourceTable: table(
        runs.map(({ source }) => source!.blocks),
        sourceWidth,
      ),
    }),
  }
}
