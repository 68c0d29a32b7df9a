import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockPool } from '../../lib/engine/blocks.ts'
import type { ChunkResult, ScheduledChunk } from '../../lib/engine/chunk.ts'
import { startOf, tokensOf } from '../../lib/engine/chunk.ts'
import type { Job } from '../../lib/engine/job.ts'
import { Scheduler } from '../../lib/engine/scheduler.ts'
import { SequenceState } from '../../lib/engine/sequence_state.ts'
import type { CancelToken } from '../../lib/native.ts'
import { failure } from '../support/files.ts'
import { range } from '../support/golden.ts'

/** The token behind a text: a function of all of it, as a model's is. */
const next = (ids: readonly number[]): number =>
  ids.reduce((hash, id) => (hash * 31 + id + 7) % 1009, ids.length) % 97

interface Step {
  chunks: { text: Text; numTokens: number; ahead: boolean }[]
}

/** One caller's text under test. */
class Text {
  readonly sequence: SequenceState
  readonly job: Job
  readonly prompt: number[]
  readonly wanted: number
  readonly drawn: number[] = []
  starts = 0
  startsSinceToken = 0
  mostStarts = 0
  end: 'done' | { error: unknown } | undefined

  constructor(pool: BlockPool, prompt: number[], wanted: number, options: Partial<Job> = {}) {
    this.prompt = prompt
    this.wanted = wanted
    this.sequence = new SequenceState(pool, {}, false)
    this.sequence.append(prompt)
    const { sequence, drawn } = this
    this.job = {
      sequence,
      reserveTokens: prompt.length + wanted - 1,
      priority: 0,
      reuse: true,
      hiddenStates: false,
      routing: false,
      experts: undefined,
      samples: true,
      ...{ usesHistory: false, waits: false },
      maxTokens: Number.POSITIVE_INFINITY,
      outputs: () => ({ logitRows: 0 }),
      onStart: () => {
        this.starts++
        this.startsSinceToken++
        this.mostStarts = Math.max(this.mostStarts, this.startsSinceToken)
      },
      onResult: ({ sampled }) => {
        if (!sampled) return true
        this.startsSinceToken = 0
        drawn.push(sampled.id)
        if (drawn.length < wanted) sequence.append([sampled.id])
        else this.#finish('done')
        return drawn.length < wanted
      },
      onError: (error) => this.#finish({ error }),
      ...options,
    }
  }

  #finish(end: Text['end']): void {
    this.end = end
    this.sequence.dispose()
  }

  /** What it would be alone. */
  get expected(): number[] {
    const ids = [...this.prompt]
    return range(this.wanted).map(() => {
      const id = next(ids)
      ids.push(id)
      return id
    })
  }
}

/** Steps that compute `next`, and remember what they were. */
class FakeRunner {
  readonly maxTokens: number
  readonly steps: Step[] = []
  readonly #texts: Text[]
  readonly #beforeStep: (step: number) => void
  /** What the step before gave, for those that run ahead. */
  #last: (number | undefined)[] = []

  constructor(maxTokens: number, texts: Text[], beforeStep: (step: number) => void = () => {}) {
    this.maxTokens = maxTokens
    this.#texts = texts
    this.#beforeStep = beforeStep
  }

  async run(chunks: ScheduledChunk[], _: unknown, cancel: CancelToken): Promise<ChunkResult[]> {
    expect(tokensOf(chunks)).toBeLessThanOrEqual(this.maxTokens)
    const texts = chunks.map(
      ({ sequence }) => this.#texts.find((text) => text.sequence === sequence)!,
    )
    this.steps.push({ chunks: chunks.map((chunk, i) => ({ ...chunk, text: texts[i]! })) })
    const ids = chunks.map(({ sequence, ahead }, i) =>
      ahead ? [...sequence.ids, this.#last[i]!] : [...sequence.ids],
    )
    const results = chunks.map((chunk, i): ChunkResult => {
      const end = startOf(chunk) + chunk.numTokens
      expect(chunk.sequence.blocks.length * 32).toBeGreaterThanOrEqual(end)
      if (end < ids[i]!.length) return {}
      return { sampled: { id: next(ids[i]!), logprob: 0, top: [], nonFinite: -1 } }
    })
    this.#last = results.map(({ sampled }) => sampled?.id)
    const number = this.steps.length
    await undefined
    this.#beforeStep(number)
    await new Promise((resolve) => setImmediate(resolve))
    void cancel
    return results
  }
}

const limits = {
  longestText: Number.POSITIVE_INFINITY,
  maxWaiting: Number.POSITIVE_INFINITY,
  leastTokens: 32,
  slowdown: Number.POSITIVE_INFINITY,
}

const request = fc.record({
  prompt: fc.integer({ min: 1, max: 90 }),
  letter: fc.nat(1),
  wanted: fc.integer({ min: 1, max: 150 }),
  priority: fc.constantFrom(0, 0, 0, 1, -1),
  reuse: fc.boolean(),
  usesHistory: fc.constantFrom(false, false, true),
  /** The step before which it comes, and the one before which its caller leaves. */
  comes: fc.nat(12),
  leaves: fc.option(fc.integer({ min: 1, max: 120 }), { freq: 4 }),
})

describe('the scheduler', () => {
  it('brings everybody to the text that they get alone, whoever comes and goes', async () => {
    let preemptions = 0
    let most = 0 // starts of a text between two of its tokens
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 8, max: 16 }),
        fc.integer({ min: 40, max: 128 }),
        fc.array(request, { minLength: 2, maxLength: 12 }),
        async (blocks, maxTokens, requests) => {
          const pool = new BlockPool(blocks)
          const texts = requests.map(({ prompt, letter, wanted, priority, reuse, usesHistory }) => {
            const ids = range(prompt).map((i) => (i % 40 < 33 ? letter : i))
            return new Text(pool, ids, wanted, { priority, reuse, usesHistory })
          })
          const submit = (now: number, last = false) => {
            for (const [i, { comes }] of requests.entries())
              if (comes === now || (last && comes > now)) scheduler.submit(texts[i]!.job)
          }
          const runner = new FakeRunner(maxTokens, texts, (step) => {
            submit(step)
            for (const [i, { leaves }] of requests.entries())
              if (leaves === step && texts[i]!.end === undefined)
                scheduler.abort(texts[i]!.job, 'left')
          })
          const scheduler = new Scheduler(runner, pool, limits)
          submit(0)
          for (
            let turn = 0;
            scheduler.stats.running + scheduler.stats.waiting > 0 || turn < 40;
            turn++
          ) {
            if (turn === 40) submit(runner.steps.length, true)
            expect(turn).toBeLessThan(5000)
            await new Promise((resolve) => setImmediate(resolve))
          }
          await scheduler.dispose()
          for (const [i, text] of texts.entries()) {
            if (text.end === undefined) continue // never came: all had ended before
            if (text.end === 'done') expect(text.drawn).toEqual(text.expected)
            else expect([text.end.error, requests[i]!.leaves]).toEqual(['left', expect.any(Number)])
          }
          expect(pool.free).toBe(pool.size)
          preemptions += scheduler.stats.preemptions
          most = Math.max(most, ...texts.map((t) => t.mostStarts))
        },
      ),
      { numRuns: 150, seed: 3 },
    )
    // The first start, and one behind making room.
    expect(most).toBe(2)
    expect(preemptions).toBeGreaterThan(50)
  })

  /** Runs texts that come at once; the runner and the order in which they ended. */
  async function all(
    blocks: number,
    maxTokens: number,
    make: (pool: BlockPool) => Text[],
    some: Partial<typeof limits> = {},
  ): Promise<{ runner: FakeRunner; texts: Text[]; scheduler: Scheduler }> {
    const pool = new BlockPool(blocks)
    const texts = make(pool)
    const runner = new FakeRunner(maxTokens, texts)
    const scheduler = new Scheduler(runner, pool, { ...limits, ...some })
    for (const { job } of texts) scheduler.submit(job)
    while (texts.some(({ end }) => end === undefined))
      await new Promise((resolve) => setImmediate(resolve))
    for (const text of texts) expect(text.drawn).toEqual(text.expected)
    return { runner, texts, scheduler }
  }
  const prompt = (length: number, id: number) => range(length).map((i) => (i * 5 + id) % 90)

  it('preempts the newest, never the oldest', async () => {
    const { texts, scheduler } = await all(8, 512, (pool) =>
      range(4).map((i) => new Text(pool, prompt(20, i), 100)),
    )
    expect(scheduler.stats.preemptions).toBeGreaterThan(0)
    expect(texts[0]!.starts).toBe(1)
    expect(texts.map(({ starts }) => starts)).toEqual(texts.map(({ starts }) => starts).sort())
  })

  it('the lower number comes first', async () => {
    const { runner, texts } = await all(2, 512, (pool) =>
      [2, 1, 0].map((priority, i) => new Text(pool, prompt(20, i), 30, { priority })),
    )
    const order = [...new Set(runner.steps.flatMap(({ chunks }) => chunks.map(({ text }) => text)))]
    expect(order).toEqual([texts[2], texts[1], texts[0]])
  })

  it('prompts share a step, and short ones leave the rest to long ones', async () => {
    const { runner, texts } = await all(64, 512, (pool) => [
      new Text(pool, prompt(900, 1), 2),
      new Text(pool, prompt(700, 2), 2),
      new Text(pool, prompt(40, 3), 2),
    ])
    const first = runner.steps[0]!.chunks
    const tokens = texts.map((text) => first.find((one) => one.text === text)!.numTokens)
    expect(tokens).toEqual([224, 224, 40])
    for (const { chunks } of runner.steps)
      for (const { text, numTokens } of chunks)
        expect(numTokens % 32 === 0 || numTokens === 1 || numTokens <= text.prompt.length).toBe(
          true,
        )
  })

  it('a long prompt does not take a writer’s steps', async () => {
    const pool = new BlockPool(200)
    const writer = new Text(pool, prompt(10, 1), 60)
    const reader = new Text(pool, prompt(4000, 2), 1)
    const texts = [writer, reader]
    const runner = new FakeRunner(512, texts, (step) => {
      if (step === 5) scheduler.submit(reader.job)
    })
    const scheduler = new Scheduler(runner, pool, { ...limits, slowdown: 0 })
    scheduler.submit(writer.job)
    while (texts.some(({ end }) => end === undefined))
      await new Promise((resolve) => setImmediate(resolve))
    const mixed = runner.steps.filter(({ chunks }) => chunks.length === 2)
    expect(mixed.length).toBeGreaterThanOrEqual(4000 / 512)
    expect(mixed[0]!.chunks.find(({ text }) => text === reader)!.numTokens).toBe(32)
    for (const { chunks } of runner.steps.slice(0, 60))
      expect(chunks.some(({ text }) => text === writer)).toBe(true)
  })

  it('a second text with the same beginning reads only the rest', async () => {
    const { runner, scheduler } = await all(64, 512, (pool) => {
      const first = new Text(pool, prompt(300, 1), 3)
      first.sequence.reserve(300)
      first.sequence.advance(299)
      first.sequence.commit()
      return [first, new Text(pool, [...prompt(300, 1), 5, 6, 7], 3)]
    })
    expect(scheduler.stats.prefix.hits).toBe(9 * 32)
    expect(runner.steps[0]!.chunks.map(({ numTokens }) => numTokens)).toEqual([1, 15])
  })

  it('refuses more than may wait, and what can never fit', async () => {
    const pool = new BlockPool(4)
    const runner = new FakeRunner(512, [])
    const scheduler = new Scheduler(runner, pool, { ...limits, maxWaiting: 2 })
    const texts = range(67).map((i) => new Text(pool, prompt(5, i), 2))
    for (const { job } of texts.slice(0, 66)) scheduler.submit(job)
    expect(await failure(() => scheduler.submit(texts[66]!.job))).toMatchObject({
      code: 'ERR_MOE_BUSY',
      message: expect.stringMatching(/^model: calls at a time must be at most 66 .*, got 67$/),
    })
    expect(
      await failure(() => scheduler.submit(new Text(pool, prompt(120, 1), 20).job)),
    ).toMatchObject({ code: 'ERR_MOE_CONTEXT_FULL' })
    await scheduler.dispose()
    expect(texts[0]!.end).toMatchObject({ error: { code: 'ERR_MOE_DISPOSED' } })
  })

  it('a text that kept sequences leave no room for fails alone', async () => {
    const pool = new BlockPool(6)
    const kept = new SequenceState(pool, {}, false)
    kept.append(range(64))
    kept.reserve(64)
    const [a, b] = [new Text(pool, prompt(70, 1), 80), new Text(pool, prompt(70, 2), 40)]
    const scheduler = new Scheduler(new FakeRunner(512, [a, b]), pool, limits)
    scheduler.submit(a.job)
    scheduler.submit(b.job)
    while (a.end === undefined || b.end === undefined)
      await new Promise((resolve) => setImmediate(resolve))
    expect(a.end).toMatchObject({ error: { code: 'ERR_MOE_CONTEXT_FULL' } })
    expect(b.drawn).toEqual(b.expected)
  })
})
