import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ops } from '../../lib/index.ts'
import { fixture, maxDifference, readGolden } from '../support/golden.ts'
import { devices } from '../support/gpus.ts'

interface Settings {
  kind: 'token_choice' | 'expert_choice' | 'soft' | 'multi_head'
  top_k: number
  weights?: 'renormalized' | 'softmax'
  capacity?: number
  order?: 'token' | 'choice' | 'priority'
  threshold?: number
  heads?: number
}

const cases = JSON.parse(readFileSync(fixture('golden/routers/cases.json'), 'utf8')) as {
  [name: string]: Settings
}
const tensors = readGolden(fixture('golden/routers/routers.safetensors'))

describe.each(devices)('routers of the published systems on %s', (device) => {
  const options = { device }
  const f32 = (name: string, shape?: number[]) => {
    const { data, shape: own } = tensors.get(name)!
    return { data: Float32Array.from(data), shape: shape ?? own }
  }
  const i32 = (name: string) => {
    const { data, shape } = tensors.get(name)!
    return { data: Int32Array.from(data), shape }
  }
  /** x [T, K] times a matrix stored as [K, N]. */
  const times = async (x: { data: Float32Array; shape: number[] }, name: string) => {
    const { data, shape } = tensors.get(name)!
    const [K, N] = shape as [number, number]
    const turned = Float32Array.from(
      { length: K * N },
      (_, i) => data[(i % K) * N + Math.floor(i / K)]!,
    )
    return (await ops.linear({ x, weight: { data: turned, shape: [N, K] } }, options)).out
  }
  const same = (name: string, key: string, got: { data: ArrayLike<number> }) =>
    expect(Array.from(got.data), `${name}.${key}`).toEqual(
      Array.from(tensors.get(`${name}.out.${key}`)!.data),
    )
  const close = (name: string, key: string, got: { data: ArrayLike<number> }) =>
    expect(
      maxDifference(got.data, tensors.get(`${name}.out.${key}`)!.data),
      `${name}.${key}`,
    ).toBeLessThan(1e-6)

  const of = (kind: Settings['kind']) => Object.entries(cases).filter(([, c]) => c.kind === kind)

  it.each(of('token_choice'))('%s', async (name, c) => {
    const logits = tensors.has(`${name}.logits`)
      ? f32(`${name}.logits`)
      : await times(f32(`${name}.x`), `${name}.gate`)
    const kinds = Array<'ffn'>(logits.shape[1]!).fill('ffn')
    const weights = c.weights === 'softmax' ? 'scores' : 'renormalized'
    const chosen = await ops.topK({ logits, kinds, topK: c.top_k, weights }, options)
    const { capacity, order, threshold } = c
    const placed = capacity
      ? await ops.limitCapacity(
          {
            ...{ ids: chosen.ids, weights: chosen.weights, segments: i32(`${name}.segments`) },
            ...{ experts: kinds.length, capacity, order, threshold },
          },
          options,
        )
      : chosen
    same(name, 'ids', chosen.ids)
    close(name, 'weights', chosen.weights)
    same(name, 'rows', placed.rows)
    same(name, 'offsets', placed.offsets)
  })

  it.each(of('expert_choice'))('%s', async (name, { capacity }) => {
    const segments = i32(`${name}.segments`)
    const inputs = { logits: f32(`${name}.logits`), segments, capacity: capacity! }
    const { ids, weights, rows, offsets } = await ops.expertChoice(inputs, options)
    for (const [key, got] of Object.entries({ ids, rows, offsets })) same(name, key, got)
    close(name, 'weights', weights)
  })

  it.each(of('soft'))('%s', async (name) => {
    const [H, E, P] = tensors.get(`${name}.mu`)!.shape as [number, number, number]
    const inputs = {
      x: f32(`${name}.x`),
      slots: f32(`${name}.mu`, [H, E * P]),
      scale: f32(`${name}.scale`),
    }
    const { logits } = await ops.softLogits(inputs, options)
    close(name, 'logits', logits)
    const mixed = await ops.softWeights({ logits, segments: i32(`${name}.segments`) }, options)
    close(name, 'dispatch', mixed.dispatch)
    close(name, 'combine', mixed.combine)
  })

  // Each token is cut into sub-tokens, which are routed by themselves (arXiv:2404.15045): ops that exist already.
  it.each(of('multi_head'))('%s', async (name, { heads, top_k: topK }) => {
    const x = f32(`${name}.x`)
    const [T, H] = x.shape as [number, number]
    const [E, I, size] = tensors.get(`${name}.up`)!.shape as [number, number, number]
    const linear = (part: string) => ({
      weight: f32(`${name}.${part}.weight`),
      bias: f32(`${name}.${part}.bias`),
    })
    const merged = (await ops.linear({ x, ...linear('merge_in') }, options)).out
    const sub = { data: merged.data, shape: [T * heads!, size] }
    const { out: logits } = await ops.linear(
      { x: sub, weight: f32(`${name}.gate.weight`) },
      options,
    )
    close(name, 'logits', logits)
    const kinds = Array<'ffn'>(E).fill('ffn')
    const { ids, weights, rows, offsets } = await ops.topK(
      { logits, kinds, topK, weights: 'renormalized' },
      options,
    )
    same(name, 'ids', ids)
    close(name, 'weights', weights)
    const experts = (part: string, shape: [number, number]) =>
      Array.from({ length: E }, (_, e) => {
        const count = shape[0] * shape[1]
        const all = f32(`${name}.${part}`).data
        return { data: all.slice(e * count, (e + 1) * count), shape: [...shape] }
      })
    const up = {
      x: sub,
      rows,
      offsets,
      weights: experts('up', [I, size]),
      activation: 'relu',
    } as const
    const hidden = (await ops.groupedGemm(up, options)).out
    const down = { x: hidden, offsets, weights: experts('down', [size, I]) }
    const expertOut = (await ops.groupedGemm(down, options)).out
    const residual = { data: new Float32Array(T * H), shape: [T * heads!, size] }
    const { out } = await ops.combine({ expertOut, rows, ids, weights, residual, kinds }, options)
    const joined = { data: out.data, shape: [T, H] }
    close(name, 'y', (await ops.linear({ x: joined, ...linear('merge_out') }, options)).out)
  })
})
