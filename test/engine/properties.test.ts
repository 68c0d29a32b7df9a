import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ForwardOptions,
  type GenerateOptions,
  type GenerateResult,
  loadModel,
  type Model,
  type Sequence,
} from '../../lib/index.ts'
import { bits, everything } from '../support/bits.ts'
import { failure } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

// Whatever is called in whatever order, a sequence is what its ids say: a model of the calls is a list of ids, and the
// oracle is one pass over that list.

const vocabulary = 90 // of the smallest
const capacity = 512

const ids = fc.array(fc.nat(vocabulary - 1), { minLength: 1, maxLength: 45 })
const forwardOptions: fc.Arbitrary<ForwardOptions> = fc.record(
  {
    logits: fc.constantFrom('all', 'last', 'none'),
    hiddenStates: fc.boolean(),
    routing: fc.boolean(),
    checkNumerics: fc.boolean(),
  },
  { requiredKeys: [] },
)
const generateOptions: fc.Arbitrary<GenerateOptions> = fc.record(
  {
    maxNewTokens: fc.integer({ min: 1, max: 12 }),
    stopIds: fc.array(fc.nat(vocabulary - 1), { maxLength: 4 }),
    temperature: fc.constantFrom(0, 0.5, 1, 3),
    topK: fc.constantFrom(0, 1, 7, 1000),
    topP: fc.constantFrom(0, 0.3, 0.9, 1),
    minP: fc.constantFrom(0, 0.1, 1),
    repetitionPenalty: fc.constantFrom(0.8, 1, 1.3),
    presencePenalty: fc.constantFrom(-1, 0, 1),
    frequencyPenalty: fc.constantFrom(-0.5, 0, 0.5),
    logprobs: fc.constantFrom(0, 1, 20),
    routing: fc.boolean(),
  },
  { requiredKeys: ['maxNewTokens'] },
)

const place = fc.nat(9)
const call = fc.oneof(
  { weight: 4, arbitrary: fc.record({ is: fc.constant('forward'), place, ids, forwardOptions }) },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ is: fc.constant('generate'), place, ids, generateOptions, seed: fc.nat(99) },
    }),
  },
  { weight: 1, arbitrary: fc.record({ is: fc.constant('abort'), place, ids }) },
  { weight: 2, arbitrary: fc.record({ is: fc.constant('truncate'), place, share: fc.nat(100) }) },
  { weight: 2, arbitrary: fc.record({ is: fc.constant('fork'), place }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant('dispose'), place }) },
) as fc.Arbitrary<Call>
type Call =
  | { is: 'forward'; place: number; ids: number[]; forwardOptions: ForwardOptions }
  | {
      is: 'generate'
      place: number
      ids: number[]
      generateOptions: GenerateOptions
      seed: number
    }
  | { is: 'abort'; place: number; ids: number[] }
  | { is: 'truncate'; place: number; share: number }
  | { is: 'fork' | 'dispose'; place: number }

/** What holds of any generation, and its result without its times. */
function checkGeneration(result: GenerateResult, prompt: number[], options: GenerateOptions) {
  const { timings: _, usage: __, ...rest } = result
  const { maxNewTokens = 0, logprobs = 0 } = options
  const stopIds = options.stopIds as number[] | undefined
  expect(result.ids.length).toBeLessThanOrEqual(maxNewTokens)
  expect(result.finishReason === 'length').toBe(result.stopReason === undefined)
  if (result.finishReason === 'length') expect(result.ids).toHaveLength(maxNewTokens)
  else if (stopIds) expect(stopIds).toContain(result.stopReason)
  for (const id of stopIds ?? []) expect(result.ids).not.toContain(id)
  const { cachedTokens, ...usage } = result.usage
  expect(usage).toEqual({ promptTokens: prompt.length, completionTokens: result.ids.length })
  // The last token's pass gives the logits.
  expect(cachedTokens).toBeLessThan(Math.max(1, prompt.length))
  if (logprobs === 0) expect(result).not.toHaveProperty('logprobs')
  else
    for (const [i, { id, logprob, top }] of result.logprobs!.entries()) {
      expect(id).toBe(result.ids[i])
      expect(logprob).toBeLessThanOrEqual(top[0]!.logprob)
      expect(top).toHaveLength(logprobs)
      expect(top.map((one) => one.logprob)).toEqual(
        top.map((one) => one.logprob).sort((a, b) => b - a),
      )
    }
  return rest
}

interface Member {
  sequence: Sequence
  ids: number[]
  /** Of the sequence; a fork has it, too. */
  options: { adapter?: string }
}

/** Sequences, and the ids that each of them should have. */
class World {
  readonly #model: Model
  readonly #members: Member[] = []

  constructor(model: Model) {
    this.#model = model
  }

  #at(place: number) {
    if (this.#members.length === 0) {
      const adapter = [undefined, ...this.#model.adapters][
        place % (this.#model.adapters.length + 1)
      ]
      const options = adapter ? { adapter: adapter.name } : {}
      this.#members.push({ sequence: this.#model.sequence(options), ids: [], options })
    }
    return this.#members[place % this.#members.length]!
  }

  async run(call: Call): Promise<void> {
    const member = this.#at(call.place)
    const { sequence, ids: before, options: own } = member
    switch (call.is) {
      case 'forward': {
        const after = [...before, ...call.ids]
        if (after.length > 150) return
        const got = await sequence.forward(call.ids, call.forwardOptions)
        member.ids = after
        const { logits = 'last', hiddenStates, routing } = call.forwardOptions
        const whole = await this.#model.forward(after, { ...everything, ...own, logits: 'all' })
        const from = before.length
        const vocab = this.#model.config.vocabSize
        const rows = { all: from, last: after.length - 1, none: after.length }[logits]
        expect(got.logits).toEqual(whole.logits.slice(rows * vocab))
        const tail = (array: Float32Array) => array.slice((array.length / after.length) * from)
        expect(got.hiddenStates).toEqual(hiddenStates ? whole.hiddenStates!.map(tail) : undefined)
        expect(got.routing?.map((layer) => layer?.weights)).toEqual(
          routing ? whole.routing!.map((layer) => layer && tail(layer.weights)) : undefined,
        )
        return
      }
      case 'generate': {
        const options = { ...call.generateOptions, seed: call.seed }
        const prompt = [...before, ...call.ids]
        if (prompt.length > 150) return
        // In one step with another sequence that asks for the same.
        const [got, fresh] = await Promise.all([
          sequence.generate(call.ids, options),
          this.#model.generate(prompt, { ...options, ...own }),
        ])
        const expected = checkGeneration(fresh, prompt, options)
        const actual = checkGeneration(got, call.ids, options)
        const processed = (result: typeof expected) =>
          result.routing?.map(
            (layer) => layer && bits({ logits: new Float32Array(), routing: [layer] }),
          )
        if (before.length === 0) expect(processed(actual)).toEqual(processed(expected))
        expect({ ...actual, usage: 0, routing: 0 }).toEqual({ ...expected, usage: 0, routing: 0 })
        member.ids = [...prompt, ...got.ids]
        return
      }
      case 'abort': {
        const stop = new AbortController()
        const running = sequence.generate(call.ids, { signal: stop.signal, maxNewTokens: 9 })
        const left = failure(() => running)
        stop.abort(new Error('left'))
        expect((await left).message).toBe('left')
        return
      }
      case 'truncate':
        member.ids = before.slice(0, Math.floor((before.length * call.share) / 100))
        return sequence.truncate(member.ids.length)
      case 'fork':
        if (this.#members.length < 4)
          this.#members.push({ sequence: sequence.fork(), ids: [...before], options: own })
        return
      case 'dispose':
        sequence.dispose()
        this.#members.splice(this.#members.indexOf(member), 1)
    }
  }

  check(): void {
    for (const { sequence, ids } of this.#members) expect(sequence.ids).toEqual(ids)
  }

  dispose(): void {
    for (const { sequence } of this.#members) sequence.dispose()
  }
}

const lora = 'lora_experts/peft-f32'
const folders = {
  cpu: ['yuan/tiny-a', 'moepp/base-f32', 'mixtral/window-f32', lora],
  'cuda-sim': ['yuan/tiny-a', 'moepp/base-f32', lora],
}
const runs = { cpu: 40, 'cuda-sim': 2 }
const devices = ['cpu', ...(simulated ? (['cuda-sim'] as const) : [])] as const

/** The checkpoint with the adapters beside it. */
async function load(folder: string, device: 'cpu' | 'cuda-sim', maxTokens: number): Promise<Model> {
  const model = await loadModel(fixture('golden', folder), {
    ...{ device, dtype: 'f32', maxTokens, deterministic: true },
  })
  if (folder === lora)
    for (const name of ['adapter-a', 'adapter-b'])
      await model.loadAdapter(fixture('golden', folder, name))
  return model
}

describe.each(devices)('on %s, in any order of calls', (device) => {
  it.each(folders[device])('a sequence is what its ids say: %s', async (folder) => {
    await using model = await load(folder, device, capacity)
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 2, maxLength: 12 }), async (calls) => {
        const world = new World(model)
        try {
          for (const one of calls) {
            await world.run(one)
            world.check()
          }
        } finally {
          world.dispose()
        }
      }),
      { numRuns: runs[device], seed: 1 },
    )
  })

  it.each(device === 'cpu' ? ['moepp/base-f32', lora] : [lora])(
    'calls at once end as they do alone: %s',
    async (folder) => {
      await using model = await load(folder, device, 4 * capacity)
      const adapters = model.adapters.map(({ name }) => name)
      const adapter = fc.constantFrom(undefined, ...adapters)
      const calls = fc.array(fc.record({ ids, generateOptions, adapter, seed: fc.nat(99) }), {
        ...{ minLength: 2, maxLength: device === 'cpu' ? 6 : 2 },
      })
      await fc.assert(
        fc.asyncProperty(calls, async (asked) => {
          const run = async ({ ids, generateOptions, ...own }: (typeof asked)[number]) => {
            const {
              text: _,
              timings: __,
              ...rest
            } = await model.generate(ids, {
              ...{ ...generateOptions, ...own },
            })
            return rest
          }
          const together = await Promise.all(asked.map(run))
          for (const [i, one] of asked.entries()) expect(together[i]).toEqual(await run(one))
        }),
        { numRuns: device === 'cpu' ? 40 : 1, seed: 2 },
      )
    },
  )
})
