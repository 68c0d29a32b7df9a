import { describe, expect, it } from 'vitest'
import { BlockPool } from '../../lib/engine/blocks.ts'
import { allocateCaches, blockBytes, keepsState } from '../../lib/engine/cache.ts'
import type { ScheduledChunk } from '../../lib/engine/chunk.ts'
import { PlanCache } from '../../lib/engine/plan_cache.ts'
import { SequenceState } from '../../lib/engine/sequence_state.ts'
import { declareInputs, stepInputs, tableWidthOf } from '../../lib/engine/step_inputs.ts'
import type { LayerInfo } from '../../lib/layers/step.ts'
import {
  causal,
  resetAfter,
  slidingWindow,
  type VisibilityRules,
} from '../../lib/layers/visibility.ts'
import type { Plan, Tensor } from '../../lib/native.ts'
import { range } from '../support/golden.ts'

const rules: VisibilityRules = {
  full: causal,
  window: slidingWindow(3),
  reset: resetAfter(7),
  both: { start: () => 0, end: (_, length) => length - 1 },
}

/** The next `numTokens` tokens of a text of which `cached` have been processed. */
function chunk(ids: number[], cached: number, numTokens: number, ahead = false): ScheduledChunk {
  const sequence = new SequenceState(new BlockPool(64), rules, false)
  sequence.append(ids)
  sequence.reserve(ids.length + 1)
  sequence.cached = cached
  return { sequence, numTokens, ahead, logitRows: 0 }
}

describe('what tokens see', () => {
  const numbers = (chunks: ScheduledChunk[]) =>
    Object.fromEntries(
      Object.entries(stepInputs(chunks, rules, 8)).map(([name, array]) => [
        name,
        Array.from(array),
      ]),
    )

  it('starts by every rule, ends where a rule has its own', () => {
    const ids = [1, 2, 7, 3, 4, 7, 5]
    const whole = numbers([chunk(ids, 0, 7)])
    expect(whole['starts.full']).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(whole['starts.window']).toEqual([0, 0, 0, 1, 2, 3, 4])
    expect(whole['starts.reset']).toEqual([0, 0, 0, 3, 3, 3, 6])
    expect(whole['ends.both']).toEqual([6, 6, 6, 6, 6, 6, 6])
    expect(Object.keys(whole).filter((name) => name.startsWith('ends'))).toEqual(['ends.both'])
  })

  it('a chunk sees no further than itself', () => {
    const ids = [1, 2, 7, 3, 4, 7, 5]
    const step = numbers([chunk(ids, 2, 3), chunk(ids, 5, 1)])
    expect(step.positions).toEqual([2, 3, 4, 5])
    expect(step['starts.reset']).toEqual([0, 3, 3, 3])
    expect(step['starts.window']).toEqual([0, 1, 2, 3])
    expect(step['ends.both']).toEqual([4, 4, 4, 5])
  })

  it('a token whose id is not known yet', () => {
    const step = numbers([chunk([1, 2, 7], 2, 1, true)])
    expect(step.positions).toEqual([3])
    expect(step['starts.reset']).toEqual([3])
    expect(step['starts.window']).toEqual([1])
  })
})

describe('the block table', () => {
  it('is as wide as the longest sequence, in powers of two, within the cache', () => {
    const width = (cached: number, numBlocks: number) =>
      tableWidthOf([chunk([1], 0, 1), chunk(range(cached + 1), cached, 1)], numBlocks)
    expect([0, 255, 256, 511, 512, 1100].map((cached) => width(cached, 4096))).toEqual([
      8, 8, 16, 16, 32, 64,
    ])
    expect([0, 100, 1100].map((cached) => width(cached, 40))).toEqual([8, 8, 40])
    expect(width(3, 2)).toBe(2)
  })

  it('holds what the step reads, not what is reserved', () => {
    const one = chunk(range(40), 39, 1)
    one.sequence.reserve(32 * 20)
    const { blockTable } = stepInputs([one], rules, tableWidthOf([one], 64))
    expect(Array.from(blockTable!)).toEqual([...one.sequence.blocks.slice(0, 2), 0, 0, 0, 0, 0, 0])
  })

  it('a text needs a plan more each time its length doubles', () => {
    const widths = range(4000).map((cached) => tableWidthOf([chunk([1], cached, 1)], 4096))
    expect(new Set(widths)).toEqual(new Set([8, 16, 32, 64, 128]))
  })
})

it('a rule without an end of its own ends at the token', () => {
  const declared: string[] = []
  const plan = {
    input(name: string) {
      declared.push(name)
      return { name }
    },
  }
  const shape = {
    ...{ tokens: 5, sequences: 2, tableWidth: 8, sampled: 1, logitRows: 3 },
    ...{ adjusted: 0, masked: 0, biased: 0, adapters: 0 },
  }
  const { visible, positions } = declareInputs(plan as unknown as Plan, shape, rules, 12, 64, 100)
  expect(visible.full!.ends).toBe(positions)
  expect(visible.both!.ends).not.toBe(positions)
  const data = stepInputs([chunk([1, 2, 3, 4, 5], 0, 5)], rules, 8)
  expect(new Set(Object.keys(data))).toEqual(new Set(declared))
  expect(declared.at(-1)).toBe('history') // its length is no part of the shape
})

describe('caches', () => {
  const layers: LayerInfo[] = [
    {
      caches: {
        keys: { kind: 'keys', heads: 2, size: 24 },
        values: { kind: 'values', heads: 2, size: 16 },
      },
    },
    { caches: {} },
    {
      caches: { memory: { kind: 'state', size: 10 }, latent: { kind: 'keys', heads: 1, size: 5 } },
    },
  ]

  it('are what each layer declares', () => {
    const shapes = allocateCaches(layers, 3, (shape) => shape as unknown as Tensor)
    expect(shapes).toEqual([
      { keys: [3, 2, 24, 32], values: [3, 2, 32, 16] },
      {},
      { memory: [3, 10], latent: [3, 1, 5, 32] },
    ])
  })

  it('take the bytes that follow', () => {
    const numbers = 2 * 24 * 32 + 2 * 32 * 16 + 10 + 5 * 32
    expect(blockBytes(layers, 'f32')).toBe(4 * numbers)
    expect(blockBytes(layers, 'bf16')).toBe(2 * numbers)
    expect(blockBytes([{ caches: {} }], 'f32')).toBe(0)
  })

  it('keep a state where a layer does', () => {
    expect([layers, layers.slice(0, 2)].map(keepsState)).toEqual([true, false])
  })
})

it('the plan cache lets go of what was used longest ago', () => {
  const made: string[] = []
  const cache = new PlanCache<string>(2)
  const make = (key: string) => {
    made.push(key)
    return key
  }
  for (const key of ['a', 'b', 'a', 'c', 'a', 'b'])
    expect(cache.get(key, () => make(key))).toBe(key)
  expect(made).toEqual(['a', 'b', 'c', 'b'])
})
