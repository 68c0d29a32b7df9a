import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DeviceName } from '../../lib/device.ts'
import { type Constraint, loadModel, type Model, ops } from '../../lib/index.ts'
import { failure } from '../support/files.ts'
import { range, root } from '../support/golden.ts'

const device = (process.env.MOE_TEST_DEVICE ?? 'cpu') as DeviceName
/** A step on the simulator takes as long as a hundred on the CPU. */
const fewer = (usual: number, simulated: number) => (/sim/.test(device) ? simulated : usual)

let model: Model
beforeAll(async () => {
  model = await loadModel(`${root}/demo/moepp-tiny`, {
    device,
    maxTokens: 1024,
    deterministic: device !== 'cpu',
  })
})
afterAll(() => model.dispose())

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: fewer(20, 5) },
    age: { type: 'integer', minimum: 0, maximum: 120 },
  },
  required: ['name', 'age'],
}

describe('a constraint', () => {
  it.each<[string, Constraint, RegExp]>([
    ['a schema', { json: person }, /^\{"name":"([^"\\]|\\.){0,20}","age":\d{1,3}\}$/],
    ['an expression', { regex: '[a-c]{2,5}-\\d+x' }, /^[a-c]{2,5}-\d+x$/],
    ['texts', { choice: ['yes', 'no', 'yes, no'] }, /^(yes|no|yes, no)$/],
    ['a grammar', { grammar: 'root ::= "a" root "b" | "c"' }, /^a*cb*$/],
  ])('%s holds for what is written', async (_, constraint, whole) => {
    const answers = range(fewer(8, 2)).map((seed) =>
      model.generate('ROMEO:', {
        constraint,
        temperature: 1.5,
        seed,
        maxNewTokens: fewer(120, 30),
      }),
    )
    for (const { text, finishReason } of await Promise.all(answers))
      if (finishReason === 'stop') expect(text).toMatch(whole)
    const { text, finishReason, stopReason } = await model.generate('JULIET:', {
      constraint: { choice: ['yes'] },
    })
    expect([text, finishReason, stopReason]).toEqual(['yes', 'stop', undefined])
  })

  it('that is not whole yet is cut by the length alone', async () => {
    const { text, finishReason } = await model.generate('A', {
      constraint: { regex: 'a{100}' },
      maxNewTokens: 5,
    })
    expect([/^a+$/.test(text), finishReason]).toEqual([true, 'length'])
  })

  it('ends where the model ends the text, if it may', async () => {
    const eos = model.tokenizer!.eosId!
    const constraint = { regex: '[a-z ]*' }
    const all = { constraint, logitBias: { [eos]: 100 } }
    expect(await model.generate('A', all)).toMatchObject({ text: '', stopReason: eos })
    const some = { constraint: { regex: '[a-z]{3}[a-z ]*' }, logitBias: { [eos]: 100 } }
    const { text, stopReason } = await model.generate('A', some)
    expect([/^[a-z]{3}/.test(text), stopReason]).toEqual([true, eos])
  })

  it('changes nothing for others, and gives what it gives alone', async () => {
    const rest = { temperature: 1, maxNewTokens: fewer(24, 8), logprobs: 2 }
    const plain = range(fewer(6, 2)).map((seed) => ({ ...rest, seed }))
    const long = { constraint: { json: person }, maxNewTokens: fewer(60, 16) }
    const held = plain.map((one) => ({ ...one, ...long }))
    const tell = ({ ids, logprobs }: { ids: number[]; logprobs?: unknown }) => ({ ids, logprobs })
    const alone = []
    for (const options of [...plain, ...held])
      alone.push(tell(await model.generate('What', options)))
    const together = [...plain, ...held].map(async (options, i) => {
      await new Promise((resolve) => setTimeout(resolve, (7 * i) % 11))
      return tell(await model.generate('What', options))
    })
    expect(await Promise.all(together)).toEqual(alone)
  })

  it('survives having to make room', async () => {
    await using small = await loadModel(`${root}/demo/moepp-tiny`, {
      device,
      maxTokens: 96,
      deterministic: device !== 'cpu',
    })
    const options = {
      constraint: { regex: '[a-z ]{150}' },
      temperature: 1,
      maxNewTokens: fewer(60, 8),
      stop: [],
    }
    const prompt = range(29).map((i) => 5 + 7 * i)
    const seeds = range(fewer(4, 2))
    const alone = []
    for (const seed of seeds) alone.push((await small.generate(prompt, { ...options, seed })).text)
    const all = seeds.map((seed) => small.generate(prompt, { ...options, seed }))
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(alone)
    expect(small.stats.preemptions).toBeGreaterThan(0)
  })

  it('that is left, aborted or too late leaves nothing behind', async () => {
    const reason = new Error('enough')
    const constraint = { json: { type: 'array', items: { type: 'string', maxLength: 90 } } }
    const abort = new AbortController()
    const first = model.generate('A', { constraint, signal: abort.signal })
    setTimeout(() => abort.abort(reason), 5) // while it is compiled
    expect(await failure(() => first)).toBe(reason)
    const again = new AbortController()
    const second = model.generate('A', {
      constraint,
      signal: again.signal,
      maxNewTokens: 900,
      temperature: 1,
    })
    for await (const _ of second) {
      again.abort(reason)
      break
    }
    await second.catch(() => {})
    const used = model.stats.blocks
    expect([model.stats.running, used.size - used.free]).toEqual([0, 0])
    const other = await loadModel(`${root}/demo/moepp-tiny`, { device, maxTokens: 64 })
    const late = failure(() => other.generate('A', { constraint }))
    await new Promise((resolve) => setTimeout(resolve, 3))
    await other.dispose()
    expect(await late).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
  })

  it.each<[string, unknown, string, string]>([
    ['nothing', {}, 'ERR_MOE_OPTION', 'constraint'],
    ['two', { json: {}, regex: 'a' }, 'ERR_MOE_OPTION', 'constraint'],
    ['a name', 'json', 'ERR_MOE_OPTION', 'constraint'],
    ['no schema', { json: 'x' }, 'ERR_MOE_OPTION', 'constraint.json'],
    ['no expression', { regex: '(' }, 'ERR_MOE_OPTION', 'constraint.regex'],
    ['no texts', { choice: [] }, 'ERR_MOE_OPTION', 'constraint.choice'],
    ['no grammar', { grammar: 'root = a' }, 'ERR_MOE_OPTION', 'constraint.grammar'],
    ['a keyword', { json: { not: {} } }, 'ERR_MOE_UNSUPPORTED', 'constraint.json.not'],
  ])('of the wrong kind says so: %s', async (_, constraint, code, name) => {
    const error = await failure(() => model.generate('A', { constraint: constraint as Constraint }))
    expect([error.code, error.message.startsWith(`generate: ${name} must be `)]).toEqual([
      code,
      true,
    ])
  })

  it('that no allowed token can spell says so', async () => {
    const [id] = model.tokenizer!.encode('b', { addSpecialTokens: false })
    const options = { constraint: { regex: 'a+' }, allowedTokens: [id!] }
    expect(await failure(() => model.generate('A', options))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringContaining('constraint must be such that some token can go on'),
    })
  })
})

describe('allowed tokens and biases', () => {
  it('are the only ones, also with steps ahead of the text', async () => {
    const allowedTokens = [5, 6, 40, 41]
    const maxNewTokens = fewer(30, 6)
    for (const temperature of [0, 2]) {
      const { ids } = await model.generate('A', { allowedTokens, temperature, maxNewTokens })
      expect(ids.length).toBe(maxNewTokens)
      for (const id of ids) expect(allowedTokens).toContain(id)
    }
  })

  it('move what is likely, and no logprobs', async () => {
    const plain = await model.generate('A', { maxNewTokens: 1, logprobs: 1 })
    const { ids, logprobs } = await model.generate('A', {
      maxNewTokens: 1,
      logprobs: 1,
      logitBias: { 77: 100 },
    })
    expect(ids).toEqual([77])
    expect(logprobs![0]!.top).toEqual(plain.logprobs![0]!.top)
    expect(logprobs![0]!.logprob).toBeLessThan(plain.logprobs![0]!.logprob)
    const away = await model.generate('A', {
      maxNewTokens: 1,
      logitBias: { [plain.ids[0]!]: -100 },
    })
    expect(away.ids).not.toEqual(plain.ids)
  })

  it.each([
    ['allowedTokens', { allowedTokens: [] }],
    ['allowedTokens', { allowedTokens: [1e9] }],
    ['logitBias', { logitBias: { x: 1 } }],
    ['logitBias', { logitBias: { '-1': 1 } }],
    ['logitBias.3', { logitBias: { 3: 1000 } }],
    ['logitBias', { logitBias: [1] as never }],
    ['logitBias', { logitBias: new Map([[5, 100]]) as never }],
    ['logitBias', { logitBias: { ' 5': 1 } as never }],
    ['logitBias', { logitBias: { '0x5': 1 } as never }],
  ])('%s must be right', async (name, options) => {
    const error = await failure(() => model.generate('A', options))
    expect([error.code, error.message.startsWith(`generate: ${name} must be `)]).toEqual([
      'ERR_MOE_OPTION',
      true,
    ])
  })

  it('draw as rejection would: by the same odds among what is allowed', async () => {
    const [V, S] = [40, fewer(4096, 256)]
    const row = Float32Array.from({ length: V }, (_, v) => Math.sin(3 * v) * 1.5)
    const allowed = [1, 4, 9, 17, 31, 32, 39]
    const mask = new Int32Array(2)
    for (const id of allowed) mask[id >> 5]! |= 1 << (id & 31)
    const { ids } = await ops.sample(
      {
        logits: {
          data: Float32Array.from({ length: S * V }, (_, i) => row[i % V]!),
          shape: [S, V],
        },
        options: {
          data: Float32Array.from({ length: 6 * S }, (_, i) => [1, 1, 0, 1, 0, 0][i % 6]!),
          shape: [S, 6],
        },
        counts: {
          data: Int32Array.from(
            { length: 5 * S },
            (_, i) => [0, 9, 0, Math.floor(i / 5), 0][i % 5]!,
          ),
          shape: [S, 5],
        },
        history: { data: new Int32Array(0), shape: [0] },
        historyOffsets: { data: new Int32Array(S + 1), shape: [S + 1] },
        masks: { data: mask, shape: [1, 2] },
        maskRows: { data: new Int32Array(S), shape: [S] },
        vocabulary: V,
      },
      { device },
    )
    const total = allowed.reduce((sum, id) => sum + Math.exp(row[id]!), 0)
    let chi = 0
    for (const id of allowed) {
      const wanted = (S * Math.exp(row[id]!)) / total
      chi += ((ids.data as Int32Array).filter((one) => one === id).length - wanted) ** 2 / wanted
    }
    expect((ids.data as Int32Array).every((id) => allowed.includes(id))).toBe(true)
    expect(chi).toBeLessThan(22.5) // of six degrees of freedom, one in a thousand is above
  })
})
