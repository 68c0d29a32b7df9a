import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockPool } from '../../lib/engine/blocks.ts'
import { SequenceState } from '../../lib/engine/sequence_state.ts'
import { blockTokens } from '../../lib/ops/index.ts'
import { range } from '../support/golden.ts'

/** What a cache would hold: each slot the text up to its token, each block's state that of its last one. */
class Cache {
  readonly pool: BlockPool
  readonly sequences: SequenceState[] = []
  readonly slots: (string | undefined)[][]
  readonly states: (string | undefined)[]
  readonly #keepsState: boolean

  constructor(size: number, keepsState: boolean) {
    this.pool = new BlockPool(size)
    this.#keepsState = keepsState
    this.slots = range(size).map(() => [])
    this.states = range(size).map(() => undefined)
  }

  open(salt: string): void {
    this.sequences.push(new SequenceState(this.pool, {}, this.#keepsState, salt))
  }

  /** A step of up to `most` tokens. `counts` is false for one that is cancelled, or whose job has ended. */
  run(sequence: SequenceState, most: number, counts: boolean): void {
    const numTokens = Math.min(most, sequence.ids.length - sequence.cached)
    if (numTokens <= 0 || !sequence.reserve(sequence.cached + numTokens)) return
    for (const position of range(numTokens).map((i) => sequence.cached + i)) {
      const block = sequence.blocks[Math.floor(position / blockTokens)]!
      expect([this.pool.registered(block), this.pool.shared(block)]).toEqual([false, false])
      const before = sequence.blocks[Math.floor((position - 1) / blockTokens)]
      if (this.#keepsState && position > 0)
        expect(this.states[before!]).toBe(text(sequence, position))
      this.slots[block]![position % blockTokens] = text(sequence, position + 1)
      this.states[block] = text(sequence, position + 1)
    }
    if (!counts) {
      sequence.distrustLastBlock()
      return
    }
    sequence.advance(numTokens)
    sequence.commit()
  }

  check(): void {
    const { pool, sequences } = this
    const users = range(pool.size).map(
      (block) => sequences.filter(({ blocks }) => blocks.includes(block)).length,
    )
    const { free, cached } = pool.counts
    expect(free).toBe(users.filter((n) => n === 0).length)
    expect(cached).toBe(users.filter((n, block) => n === 0 && pool.registered(block)).length)
    for (const [block, n] of users.entries()) expect(pool.shared(block)).toBe(n > 1)
    for (const sequence of sequences) {
      const { ids, blocks, cached: known } = sequence
      expect(new Set(blocks).size).toBe(blocks.length)
      expect(known).toBeLessThanOrEqual(ids.length)
      expect(blocks.length).toBeGreaterThanOrEqual(Math.ceil(known / blockTokens))
      for (let position = 0; position < known; position++)
        expect(
          this.slots[blocks[Math.floor(position / blockTokens)]!]![position % blockTokens],
        ).toBe(text(sequence, position + 1))
    }
  }
}

const salts = new WeakMap<SequenceState, string>()
const text = (sequence: SequenceState, length: number): string =>
  `${salts.get(sequence)}:${sequence.ids.slice(0, length).join('')}`

const length = fc.constantFrom(1, 2, 31, 32, 33, 40)
// Texts of two letters in long runs, so that many begin alike.
const action = fc.oneof(
  fc.record({ kind: fc.constant('open' as const), salt: fc.constantFrom('', '', 'x') }),
  fc.record({ kind: fc.constant('append' as const), at: fc.nat(), n: length, id: fc.nat(1) }),
  fc.record({
    ...{ kind: fc.constant('run' as const), at: fc.nat(), n: length },
    counts: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('run' as const),
    at: fc.nat(),
    n: length,
    counts: fc.constant(true),
  }),
  fc.record({ kind: fc.constantFrom('adopt', 'unadopt', 'fork', 'evict'), at: fc.nat() }),
  fc.record({ kind: fc.constant('truncate' as const), at: fc.nat(), n: fc.nat(100) }),
  fc.record({ kind: fc.constant('dispose' as const), at: fc.nat() }),
)
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

function act(cache: Cache, action: Action): void {
  const { sequences } = cache
  if (action.kind === 'open') {
    cache.open(action.salt)
    salts.set(sequences.at(-1)!, action.salt)
    return
  }
  if (sequences.length === 0) return
  const index = action.at % sequences.length
  const sequence = sequences[index]!
  if (action.kind === 'append') sequence.append(range(action.n).map(() => action.id))
  else if (action.kind === 'run') cache.run(sequence, action.n, action.counts)
  else if (action.kind === 'truncate') sequence.truncate(Math.min(action.n, sequence.ids.length))
  else if (action.kind === 'evict') sequence.evict()
  else if (action.kind === 'fork') {
    const fork = sequence.fork()
    salts.set(fork, salts.get(sequence)!)
    sequences.push(fork)
  } else if (action.kind === 'dispose') {
    sequence.dispose()
    sequences.splice(index, 1)
  } else {
    const before = [sequence.cached, sequence.blocks.length]
    const tokens = sequence.adopt()
    expect(tokens).toBe(sequence.cached - before[0]!)
    if (tokens > 0) expect(sequence.cached).toBeLessThan(sequence.ids.length)
    if (action.kind === 'unadopt') sequence.unadopt(tokens)
    if (action.kind === 'unadopt') expect(sequence.cached).toBe(before[0])
  }
}

describe.each([
  ['keys and values', false],
  ['and states', true],
])('blocks with %s', (_, keepsState) => {
  it('always hold what they are taken for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 12 }),
        fc.array(action, { maxLength: 60 }),
        (size, all) => {
          const cache = new Cache(size, keepsState)
          for (const one of all) {
            act(cache, one)
            cache.check()
          }
          for (const sequence of cache.sequences.splice(0)) sequence.dispose()
          expect(cache.pool.free).toBe(size)
        },
      ),
      { numRuns: 400, seed: 7 },
    )
  })

  const filled = (size: number, tokens: number) => {
    const cache = new Cache(size, keepsState)
    cache.open('')
    const [sequence] = cache.sequences as [SequenceState]
    salts.set(sequence, '')
    sequence.append(range(tokens).map((i) => i % 7))
    cache.run(sequence, tokens, true)
    return { cache, sequence }
  }
  const reader = (cache: Cache, ids: number[], salt = '') => {
    const sequence = new SequenceState(cache.pool, {}, keepsState, salt)
    sequence.append(ids)
    return sequence
  }

  it('are found again by the same beginning, but for the last token', () => {
    const { cache, sequence } = filled(12, 100)
    expect(reader(cache, sequence.ids.slice(0, 97)).adopt()).toBe(96)
    expect(reader(cache, sequence.ids.slice(0, 96)).adopt()).toBe(64)
    expect(
      reader(cache, [...sequence.ids.slice(0, 40), 99, ...sequence.ids.slice(41)]).adopt(),
    ).toBe(32)
    expect(reader(cache, [9, ...sequence.ids.slice(1)]).adopt()).toBe(0)
    expect(reader(cache, sequence.ids, 'other').adopt()).toBe(0)
  })

  it('are found also behind a text that has ended, until their place is needed', () => {
    const { cache, sequence } = filled(4, 100)
    const { ids } = sequence
    cache.sequences.pop()!.dispose()
    expect(cache.pool.counts).toMatchObject({ free: 4, cached: 3, evictions: 0 })
    const other = reader(
      cache,
      range(64).map(() => 8),
    )
    expect(other.reserve(64)).toBe(true) // the unknown block first, then the end of the text
    expect(cache.pool.counts).toMatchObject({ free: 2, cached: 2, evictions: 1 })
    expect(reader(cache, ids).adopt()).toBe(64)
  })

  it('a known block that a text is cut into is not known any more', () => {
    const { cache, sequence } = filled(12, 100)
    const { ids } = sequence
    const copy = [...ids]
    sequence.truncate(70)
    sequence.append(range(40).map(() => 5)) // full again, of other tokens
    cache.run(sequence, 99, true)
    cache.check()
    expect(reader(cache, copy).adopt()).toBe(64)
  })
})
