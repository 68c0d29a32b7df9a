import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type DeviceName, loadModel, type Model, randomModel } from '../../lib/index.ts'
import { argmax, fixture, golden, loss, root } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

// Quantised at load. Bounds are those that the formats are chosen by: int8 costs at most 0.5 % of the loss,
// int4 1 %, and the mean divergence from the unquantised model is at most 0.01.

const window = 256
const bounds = { int8: 0.005, int4: 0.01, fp8: 0.005 }
const formats = Object.keys(bounds) as (keyof typeof bounds)[]

function logSoftmax(row: Float32Array): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b))
  const sum = row.reduce((total, z) => total + Math.exp(z - top), 0)
  return Float64Array.from(row, (z) => z - top - Math.log(sum))
}

/** Mean Kullback-Leibler divergence of a step's choices, and how often the first choice is the same. */
function compare(
  want: Float32Array[],
  got: Float32Array[],
  V: number,
): { kl: number; same: number } {
  let [kl, same, count] = [0, 0, 0]
  for (const [i, logits] of want.entries())
    for (let t = 0; t < logits.length / V; t++, count++) {
      const [p, q] = [logits, got[i]!].map((all) => all.subarray(t * V, (t + 1) * V))
      const [logP, logQ] = [logSoftmax(p!), logSoftmax(q!)]
      for (const [v, l] of logP.entries()) kl += Math.exp(l) * (l - logQ[v]!)
      same += Number(argmax(p!) === argmax(q!))
    }
  return { kl: kl / count, same: same / count }
}

describe.each(['yuan', 'moepp', 'mixtral'])('%s-tiny quantised at load', async (name) => {
  const held = readFileSync(fixture('models', `${name}-tiny`, 'val_ids.json'), 'utf8')
  const ids = (JSON.parse(held) as number[]).slice(0, 2048)
  const dir = `${root}/demo/${name}-tiny`
  const texts = Array.from({ length: ids.length / window }, (_, i) =>
    ids.slice(i * window, (i + 1) * window),
  )
  const forward = async (model: Model) => {
    const all = await model.forward(texts, { logits: 'all' })
    return all.map(({ logits }) => logits)
  }
  const meanLoss = (all: Float32Array[]) =>
    all.reduce((n, logits, i) => n + loss(logits, texts[i]!), 0) / all.length
  await using plain = await loadModel(dir, { device: 'cpu', maxTokens: 2048 })
  const want = await forward(plain)

  it.each(formats)('%s: loss and choices hardly change', async (weights) => {
    await using model = await loadModel(dir, { device: 'cpu', weights, maxTokens: 2048 })
    const got = await forward(model)
    const { kl, same } = compare(want, got, model.config.vocabSize)
    expect(meanLoss(got)).toBeLessThan(meanLoss(want) * (1 + bounds[weights]))
    expect(kl).toBeLessThan(0.01)
    expect(kl).toBeGreaterThan(0)
    expect(same).toBeGreaterThan(0.9)
  })

  it.each(formats)('%s: says what it takes', async (weights) => {
    await using model = await loadModel(dir, { device: 'cpu', weights, maxTokens: 256 })
    const others = weights === 'fp8' ? 'fp8' : 'int8'
    expect(formatsOf(model)).toEqual({
      ...formatsOf(plain),
      experts: [weights === 'int4' ? 'int4g32' : others],
      attention: [others],
      head: [others],
    })
    const share = bytesOf(model, 'experts') / bytesOf(plain, 'experts')
    expect(share).toBeLessThan(weights === 'int4' ? 0.5 : 0.75) // these are narrow: padding counts
  })
})

const formatsOf = (model: Model) => {
  const found: Record<string, string[]> = {}
  for (const { part, format } of model.weights) {
    found[part] ??= []
    found[part].push(format)
  }
  return found
}
const bytesOf = (model: Model, wanted: string) =>
  model.weights.reduce((n, { part, bytes }) => n + (part === wanted ? bytes : 0), 0)

describe('weights', () => {
  const config = {
    ...{ model_type: 'mixtral', vocab_size: 300, hidden_size: 160, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, intermediate_size: 200, num_local_experts: 4 },
  }

  const devices: DeviceName[] = simulated ? ['cpu', 'cuda-sim'] : ['cpu']
  const made = devices.flatMap((device) => formats.map((weights) => ({ device, weights })))
  it.each(made)('random ones are made in $weights on $device', async ({ device, weights }) => {
    const options = { device, weights, seed: 3, maxTokens: 64 }
    await using model = await randomModel(config, options)
    const { logits } = await model.forward([1, 2, 3, 4], { logits: 'all' })
    const deviation = Math.sqrt(logits.reduce((n, z) => n + z * z, 0) / logits.length)
    expect(deviation).toBeGreaterThan(0.5) // as of matrices that keep their input's size
    expect(deviation).toBeLessThan(2)
    await using again = await randomModel(config, options)
    expect((await again.forward([1, 2, 3, 4], { logits: 'all' })).logits).toEqual(logits)
    expect(model.weights.filter(({ format }) => /^(int|fp)/.test(format)).length).toBe(3)
  })

  it('may be converted from f32 to bf16 and back, but for the router', async () => {
    const dir = fixture('golden/mixtral/base-f32')
    await using half = await loadModel(dir, { device: 'cpu', weights: 'bf16', maxTokens: 256 })
    expect(formatsOf(half)).toMatchObject({ experts: ['bf16'], head: ['bf16'], router: ['f32'] })
    const bf16 = fixture('golden/mixtral/top3-bf16')
    await using full = await loadModel(bf16, { device: 'cpu', weights: 'f32', maxTokens: 256 })
    expect(formatsOf(full)).toMatchObject({ experts: ['f32'], router: ['bf16'] })
  })

  it('have groups of 128 where those divide a row, else of 32', async () => {
    const weights = { format: 'int4', group: 128 } as const
    const of = async (intermediate_size: number) => {
      const size = { ...config, hidden_size: 256, intermediate_size }
      await using model = await randomModel(size, { device: 'cpu', weights })
      return formatsOf(model).experts
    }
    expect(await of(384)).toEqual(['int4g128'])
    expect(await of(200)).toEqual(['int4g128', 'int4g32'])
    const load = loadModel(`${root}/demo/moepp-tiny`, { device: 'cpu', weights, maxTokens: 64 })
    await using model = await load
    expect(formatsOf(model)).toMatchObject({ experts: expect.arrayContaining(['int4g128']) })
  })

  it.each<[object, RegExp]>([
    [{ format: 'int4', group: 64 }, /weights\.group must be 32 or 128, got 64/],
    [{ format: 'int8', group: 128 }, /weights\.format must be 'int4', got "int8"/],
    [{ format: 'int4', size: 32 }, /"size" must be absent/],
  ])('of groups that are none are refused: %o', async (weights, message) => {
    const load = loadModel(`${root}/demo/moepp-tiny`, { weights: weights as { format: 'int4' } })
    await expect(load).rejects.toMatchObject({ code: 'ERR_MOE_OPTION' })
    await expect(load).rejects.toThrow(message)
  })

  it('of another name are refused', async () => {
    const weights = 'int3' as 'int4'
    const message = /weights must be 'auto', 'f32', 'bf16', 'int8', 'int4' or 'fp8', got "int3"/
    for (const load of [
      () => loadModel(`${root}/demo/moepp-tiny`, { weights }),
      () => randomModel(config, { weights }),
    ])
      await expect(load()).rejects.toMatchObject({ code: 'ERR_MOE_OPTION' })
    await expect(loadModel(`${root}/demo/moepp-tiny`, { weights })).rejects.toThrow(message)
  })
})

describe.runIf(simulated)('on a GPU', () => {
  it.each(['tiny-e-gptq4', 'tiny-f-gptq8'])('%s stays packed and says the same', async (folder) => {
    const dir = fixture('golden/yuan', folder)
    const want = golden(`${dir}/golden.safetensors`)
    const options = { device: 'cuda-sim', dtype: 'f32', maxTokens: 64 } as const
    await using packed = await loadModel(dir, options)
    expect(formatsOf(packed).experts![0]).toMatch(folder.includes('4') ? /^int4g32/ : /^int8/)
    await using unpacked = await loadModel(dir, { ...options, weights: 'f32' })
    const [r, exact] = await Promise.all(
      [packed, unpacked].map((m) => m.forward(want.ids('prefill.input_ids'), { logits: 'all' })),
    )
    const { kl } = compare([exact!.logits], [r!.logits], packed.config.vocabSize)
    // Weights are rounded to bf16; 8 bits in groups of 32 are quantised again, as on the CPU.
    expect(kl).toBeLessThan(folder === 'tiny-e-gptq4' ? 1e-4 : 1e-3)
    const { ids } = await packed.generate(want.ids('generate.input_ids'), {
      maxNewTokens: 12,
      stopIds: [],
    })
    expect(ids).toEqual(want.ids('generate.tokens'))
  })

  it.each(formats)('%s: choices hardly change', async (weights) => {
    const name = `${root}/demo/moepp-tiny`
    const held = readFileSync(fixture('models', 'moepp-tiny', 'val_ids.json'), 'utf8')
    const ids = (JSON.parse(held) as number[]).slice(0, 48)
    const options = { device: 'cuda-sim', maxTokens: 64 } as const
    await using plain = await loadModel(name, options)
    await using model = await loadModel(name, { ...options, weights })
    expect(formatsOf(model)).toMatchObject({
      experts: [weights === 'int4' ? 'int4g32' : weights],
      attention: [weights === 'int4' ? 'int8' : weights],
      head: [weights === 'int4' ? 'int8' : weights],
    })
    const [got, want] = await Promise.all(
      [model, plain].map((m) => m.forward(ids, { logits: 'all' })),
    )
    const { kl, same } = compare([want!.logits], [got!.logits], model.config.vocabSize)
    expect(kl).toBeLessThan(0.015)
    expect(kl).toBeGreaterThan(0)
    expect(same).toBeGreaterThan(0.85)
  })
})
