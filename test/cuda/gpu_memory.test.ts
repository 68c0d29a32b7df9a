import { afterEach, describe, expect, it } from 'vitest'
import { type Model, type RandomModelOptions, randomModel } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { bits, everything, text } from '../support/bits.ts'
import { failure } from '../support/files.ts'
import { gpus, simulated } from '../support/gpus.ts'
import { randomConfigs } from '../support/random_configs.ts'

// Experts in host memory, read where they are by few rows and copied to the GPU first for many: the numbers are those of
// experts on the GPU, to the bit.

const { mixtral, gptOss } = randomConfigs(128, 64) // without and with biases
const maxTokens = 64

const bytesOf = (model: Model, wanted: (entry: Model['weights'][number]) => boolean): number =>
  model.weights.reduce((sum, entry) => sum + (wanted(entry) ? entry.bytes : 0), 0)
const experts = (model: Model, memory: 'gpu' | 'host'): number =>
  bytesOf(model, (entry) => entry.part === 'experts' && entry.memory === memory)
/** Of keys and values in bf16: two layers, and heads that are two of 64 or one of 16. */
const cacheBytes = (config: object): number =>
  maxTokens * 2 * 2 * 2 * (config === gptOss ? 16 : 128)

/** Such that the GPU has room for this share of the experts. */
async function budget(config: object, share: number, options: RandomModelOptions): Promise<number> {
  await using whole = await randomModel(config as Record<string, unknown>, {
    maxTokens,
    ...options,
  })
  const others = bytesOf(whole, ({ part }) => part !== 'experts') + cacheBytes(config)
  return others + Math.floor(share * experts(whole, 'gpu'))
}

/** A few tokens, many, and many as a graph. */
async function results(model: Model) {
  const [few, many] = [text(3, 5), text(40, 5)]
  const all = []
  for (const ids of [few, many, many]) all.push(bits(await model.forward(ids, everything)))
  return all
}

// The simulator's last schedules of both generations: what is asynchronous lands late.
const devices = gpus.filter((_, i) => gpus.length === 1 || i === 3 || i === 7)
const cases: [string, object, RandomModelOptions][] = [
  ['bf16 with biases', gptOss, {}],
  ['int4', mixtral, { weights: 'int4' }],
  ['one path for any number of rows', mixtral, { deterministic: true }],
]

describe.each(devices)('experts in host memory on $name', ({ device }) => {
  it.each(cases)('%s', async (_, config, settings) => {
    const options = { device, maxTokens, ...settings }
    await using whole = await randomModel(config as Record<string, unknown>, options)
    const expected = await results(whole)
    const gpuMemory = await budget(config, 0.6, options)
    await using part = await randomModel(config as Record<string, unknown>, {
      ...options,
      gpuMemory,
    })
    expect(experts(part, 'host')).toBeGreaterThan(0)
    expect(experts(part, 'gpu')).toBeGreaterThan(0)
    expect(experts(part, 'gpu') + experts(part, 'host')).toBe(experts(whole, 'gpu'))
    expect(await results(part)).toEqual(expected)
  })

  it('all of them', async () => {
    await using whole = await randomModel(mixtral, { device, maxTokens })
    const gpuMemory = await budget(mixtral, 0, { device })
    await using none = await randomModel(mixtral, { device, maxTokens, gpuMemory })
    expect(experts(none, 'gpu')).toBe(0)
    expect(await results(none)).toEqual(await results(whole))
  })
})

describe.skipIf(!simulated)('memory of a GPU (simulated)', () => {
  const device = 'cuda-sim'
  const gpu = () => new (native().Device)('cuda-sim', 0)
  afterEach(() => {
    delete process.env.MOE_SIM_MEMORY
    delete process.env.MOE_SIM_PINNED
  })

  it('is kept to, and all of it comes back', async () => {
    const before = gpu().freeMemory()
    const gpuMemory = await budget(mixtral, 0.5, { device })
    const model = await randomModel(mixtral, { device, maxTokens, gpuMemory })
    const others = bytesOf(model, ({ memory, part }) => memory === 'gpu' && part !== 'experts')
    const taken = others + experts(model, 'gpu') + cacheBytes(mixtral)
    expect(taken).toBeLessThanOrEqual(gpuMemory)
    expect(gpuMemory - taken).toBeLessThan(2 * 128 * 64 * 2) // no further matrix
    await model.dispose()
    expect(gpu().freeMemory()).toBe(before)
  })

  it('that experts do not fit', async () => {
    const room = (await budget(mixtral, 0.4, { device })) + 300_000 // of a step's activations
    const used = 2 ** 32 - gpu().freeMemory()
    process.env.MOE_SIM_MEMORY = String(used + room)
    const whole = await failure(() => randomModel(mixtral, { device, maxTokens: 640 }))
    expect(whole).toMatchObject({ code: 'ERR_MOE_OUT_OF_MEMORY' })
    expect(whole.message).toContain('gpuMemory leaves experts on the host')
    const gpuMemory = room - 300_000
    await using model = await randomModel(mixtral, { device, maxTokens, gpuMemory })
    expect(experts(model, 'host')).toBeGreaterThan(0)
    expect((await model.forward(text(40, 5))).logits.every(Number.isFinite)).toBe(true)
  })

  it('too little for what is no expert, or too little host memory: errors, and nothing stays', async () => {
    const before = gpu().freeMemory()
    const gpuMemory = await budget(mixtral, 0, { device })
    const less = { device, maxTokens, gpuMemory: gpuMemory - 1 } as const
    expect(await failure(() => randomModel(mixtral, less))).toMatchObject({
      code: 'ERR_MOE_OUT_OF_MEMORY',
      message: expect.stringMatching(
        /weights beside experts and cache must fit gpuMemory of 0\.\d+ GB/,
      ),
    })
    process.env.MOE_SIM_PINNED = '0'
    expect(
      await failure(() => randomModel(mixtral, { device, maxTokens, gpuMemory })),
    ).toMatchObject({
      code: 'ERR_MOE_OUT_OF_MEMORY',
      message: expect.stringMatching(/^pinned host memory: \d+ bytes are needed/),
    })
    expect(gpu().freeMemory()).toBe(before)
  })

  it('of a CPU is nothing, and sizes are checked', async () => {
    await using model = await randomModel(mixtral, { device: 'cpu', maxTokens, gpuMemory: 1 })
    expect(model.weights.every(({ memory }) => memory === 'host')).toBe(true)
    expect(await failure(() => randomModel(mixtral, { gpuMemory: 0.5 }))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringMatching(/^randomModel: gpuMemory must be/),
    })
  })
})
