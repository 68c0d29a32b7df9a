import { describe, expect, it } from 'vitest'
import { loadModel, MoeError, randomModel } from '../../lib/index.ts'
import { failure } from '../support/files.ts'
import { range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const dir = `${root}/demo/moepp-tiny`

function circular(): object {
  const made: { self?: object } = {}
  made.self = made
  return made
}

describe('bad input', () => {
  const model = useModel(dir, { maxTokens: 64 })
  const noTokenizer = useModel(`${root}/test/fixtures/golden/moepp/base-f32`, { maxTokens: 64 })

  it.each<[string, () => unknown, RegExp]>([
    [
      'an id above the vocabulary',
      () => model().forward([1, 2048]),
      /forward: ids\[1\] must be a token id from 0 to 2047, got 2048/,
    ],
    ['a negative id', () => model().forward([-1]), /ids\[0\]/],
    ['a fractional id', () => model().forward([1.5]), /ids\[0\].*got 1\.5/],
    ['NaN as id', () => model().forward([Number.NaN]), /ids\[0\].*got NaN/],
    ['an empty prompt', () => model().forward([]), /ids must be at least one token/],
    [
      'an empty sequence in a batch',
      () => model().forward([[1], []]),
      /ids must be at least one token/,
    ],
    [
      'text for forward',
      () => model().forward('text' as never),
      /ids must be an array of token ids, got "text"/,
    ],
    ['nothing for forward', () => model().forward(undefined as never), /ids must be an array/],
    [
      'unknown logits',
      () => model().forward([1], { logits: 'some' as never }),
      /logits must be 'all', 'last' or 'none', got "some"/,
    ],
    [
      'a signal that is none',
      () => model().forward([1], { signal: {} as never }),
      /signal must be an AbortSignal/,
    ],
    [
      'null as options',
      () => model().forward([1], null as never),
      /options must be an object, got null/,
    ],
    ['an empty text', () => model().generate(''), /prompt must be at least one token/],
    ['an empty list of ids', () => model().generate([]), /ids must be at least one token/],
    [
      'text without a tokenizer',
      () => noTokenizer().generate('text'),
      /prompt must be token ids, since this model has no tokenizer/,
    ],
    [
      'stop strings without a tokenizer',
      () => noTokenizer().generate([1], { stop: ['x'] }),
      /stop must be absent or \[\], since this model has no tokenizer/,
    ],
    [
      'a negative temperature',
      () => model().generate('x', { temperature: -1 }),
      /temperature must be a finite number from 0 to 10000, got -1/,
    ],
    [
      'NaN as temperature',
      () => model().generate('x', { temperature: Number.NaN }),
      /temperature.*got NaN/,
    ],
    [
      'a string as temperature',
      () => model().generate('x', { temperature: '1' as never }),
      /temperature.*got "1"/,
    ],
    [
      'top-p above 1',
      () => model().generate('x', { topP: 1.1 }),
      /topP must be a finite number from 0 to 1, got 1\.1/,
    ],
    ['negative top-k', () => model().generate('x', { topK: -2 }), /topK/],
    ['fractional top-k', () => model().generate('x', { topK: 1.5 }), /topK must be a whole number/],
    ['min-p above 1', () => model().generate('x', { minP: 2 }), /minP/],
    [
      'a repetition penalty of 0',
      () => model().generate('x', { repetitionPenalty: 0 }),
      /repetitionPenalty/,
    ],
    [
      'an infinite presence penalty',
      () => model().generate('x', { presencePenalty: Number.POSITIVE_INFINITY }),
      /presencePenalty/,
    ],
    ['a negative seed', () => model().generate('x', { seed: -1 }), /seed/],
    [
      'no new tokens',
      () => model().generate('x', { maxNewTokens: 0 }),
      /maxNewTokens must be a whole number of at least 1, got 0/,
    ],
    [
      'an empty stop string',
      () => model().generate('x', { stop: [''] }),
      /stop must be a list of non-empty strings/,
    ],
    ['a stop id above the vocabulary', () => model().generate('x', { stopIds: [5000] }), /stopIds/],
    [
      'too many logprobs',
      () => model().generate('x', { logprobs: 21 }),
      /logprobs must be a whole number from 0 to 20, got 21/,
    ],
    [
      'a length to cut back to that is longer',
      () => model().sequence().truncate(1),
      /length must be a whole number from 0 to 0, got 1/,
    ],
  ])('%s', async (_, call, message) => {
    const error = await failure(call)
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    expect(error.message).toMatch(message)
  })

  it.each<[string, () => unknown]>([
    ['forward', () => model().forward(range(65))],
    ['generate', () => model().generate(range(65))],
    [
      'a sequence',
      async () => {
        using sequence = model().sequence()
        await sequence.forward(range(60), { logits: 'none' })
        await sequence.forward(range(60))
      },
    ],
    [
      'sequences that hold the cache',
      async () => {
        using sequence = model().sequence()
        await sequence.forward(range(40), { logits: 'none' })
        await model().forward(range(40))
      },
    ],
  ])('more tokens than the cache holds: %s', async (_, call) => {
    const error = await failure(call)
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CONTEXT_FULL' })
    expect(error.message).toMatch(/at most \d+.*got \d+/)
  })

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    [
      'an unknown device',
      { device: 'tpu' },
      'ERR_MOE_OPTION',
      /device must be 'auto', 'cpu', 'cuda'.*got "tpu"/,
    ],
    [
      'a GPU that is not there',
      { device: 'cuda' },
      'ERR_MOE_CUDA_UNAVAILABLE',
      /cuda must be usable, got: /,
    ],
    [
      'an unknown dtype',
      { dtype: 'f16' },
      'ERR_MOE_OPTION',
      /dtype must be 'auto', 'f32' or 'bf16', got "f16"/,
    ],
    [
      'no threads',
      { threads: 0 },
      'ERR_MOE_OPTION',
      /threads must be a whole number from 1 to 1024, got 0/,
    ],
    ['no cache', { maxTokens: 0 }, 'ERR_MOE_OPTION', /maxTokens/],
    ['NaN as rotary base', { ropeTheta: Number.NaN }, 'ERR_MOE_OPTION', /ropeTheta/],
    [
      'an unknown rotary table',
      { ropeTable: 'hf' },
      'ERR_MOE_OPTION',
      /ropeTable must be 'published'/,
    ],
    [
      'progress that is no function',
      { onProgress: 1 },
      'ERR_MOE_OPTION',
      /onProgress must be a function/,
    ],
  ])('loadModel with %s', async (_, options, code, message) => {
    const error = await failure(() => loadModel(dir, options))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  /** Whatever comes in the place of anything. */
  const odd: [string, unknown][] = [
    ['null', null],
    ['true', true],
    ['a number', 0.5],
    ['-0', -0],
    ['NaN', Number.NaN],
    ['a bigint', 5n],
    ['a symbol', Symbol('odd')],
    ['a text', 'x'],
    ['an empty object', {}],
    ['an object without a prototype', Object.create(null)],
    ['a circular object', circular()],
    ['an object with a bigint', { id: 5n }],
    ['an object whose JSON is nothing', { toJSON: () => undefined }],
    ['a list of odd things', [5n, Symbol('odd'), circular()]],
    ['a nested list', [[[1]]]],
    ['a list with holes', new Array(3)],
    ['an array of floats', new Float64Array([1.5])],
    ['a buffer', new ArrayBuffer(8)],
    ['a function', () => 1],
    ['a date that is none', new Date(Number.NaN)],
    ['a promise', Promise.resolve(1)],
    ['a map', new Map([[1, 2]])],
  ]

  /** The calls take the odd thing in every place; some take a kind that is right for them. */
  const calls: [string, (thing: never) => unknown][] = [
    ['forward(ids)', (x) => model().forward(x)],
    ['forward of a batch', (x) => model().forward([[1], x])],
    ['forward(options)', (x) => model().forward([1], x)],
    ['logits', (x) => model().forward([1], { logits: x })],
    ['hiddenStates', (x) => model().forward([1], { hiddenStates: x })],
    ['routing', (x) => model().forward([1], { routing: x })],
    ['signal', (x) => model().forward([1], { signal: x })],
    ['generate(prompt)', (x) => noTokenizer().generate(x)],
    ['generate(options)', (x) => model().generate([1], x)],
    ...[
      ...[
        'maxNewTokens',
        'minNewTokens',
        'promptLogprobs',
        'stop',
        'stopIds',
        'logprobs',
        'routing',
        'signal',
        'temperature',
      ],
      ...['topK', 'topP', 'minP', 'repetitionPenalty', 'presencePenalty', 'frequencyPenalty'],
      'seed',
    ].map((name): [string, (thing: never) => unknown] => [
      `generate: ${name}`,
      (x) => model().generate([1], { maxNewTokens: 1, [name]: x }),
    ]),
    ['sequence.forward(ids)', (x) => model().sequence().forward(x)],
    ['sequence.forward(options)', (x) => model().sequence().forward([1], x)],
    ['sequence.generate(prompt)', (x) => noTokenizer().sequence().generate(x)],
    ['sequence.generate(options)', (x) => model().sequence().generate([1], x)],
    ['sequence.truncate', (x) => model().sequence().truncate(x)],
    ['loadModel(dir)', (x) => loadModel(x)],
    ['loadModel(options)', (x) => loadModel(dir, x)],
    ...[
      ...['device', 'dtype', 'threads', 'maxTokens', 'deterministic', 'ropeTheta', 'ropeTable'],
      ...['onProgress', 'signal'],
    ].map((name): [string, (thing: never) => unknown] => [
      `loadModel: ${name}`,
      (x) => load({ device: 'cpu', maxTokens: 32, [name]: x }),
    ]),
    ['randomModel(config)', (x) => randomModel(x)],
    ['randomModel(options)', (x) => randomModel({ model_type: 'mixtral' }, x)],
    ['randomModel: weights', (x) => randomModel({ model_type: 'mixtral' }, { weights: x })],
    ['randomModel: seed', (x) => randomModel({ model_type: 'mixtral' }, { seed: x })],
    ['randomModel: model_type', (x) => randomModel({ model_type: x })],
    ['randomModel: hidden_size', (x) => randomModel({ model_type: 'mixtral', hidden_size: x })],
  ]

  const load = async (options: object) => (await loadModel(dir, options)).dispose()

  it.each(calls)('%s throws nothing but a MoeError, whatever it gets', async (_, call) => {
    let refused = 0
    for (const [name, thing] of odd) {
      try {
        await call(thing as never)
      } catch (error) {
        refused++
        expect(error, `${name}: ${String(error)}`).toBeInstanceOf(MoeError)
        expect((error as MoeError).message).toMatch(/^[^:]+: .+ must .+/)
      }
    }
    expect(refused).toBeGreaterThan(odd.length / 2)
  })

  it('loadModel without a folder', async () => {
    expect(await failure(() => loadModel(undefined as never))).toMatchObject({
      code: 'ERR_MOE_OPTION',
    })
    expect(await failure(() => loadModel(dir, null as never))).toMatchObject({
      code: 'ERR_MOE_OPTION',
    })
  })
})
