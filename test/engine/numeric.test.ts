import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ForwardOptions, loadModel, ops } from '../../lib/index.ts'
import { copyCheckpoint, failure, readStored, writeStored } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'
import { useModel } from '../support/use_model.ts'

/** A copy of a checkpoint with `value` in place of elements of tensors. */
function damaged(
  from: string,
  name: RegExp,
  value: number,
  at: (element: number, shape: number[]) => boolean = () => true,
): string {
  const dir = copyCheckpoint(from)
  const file = path.join(dir, 'model.safetensors')
  const tensors = readStored(file)
  for (const [tensor, { data, shape }] of tensors) {
    if (!name.test(tensor)) continue
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    for (let i = 0; i < data.length / 4; i++) if (at(i, shape)) view.setFloat32(4 * i, value, true)
  }
  writeStored(file, tensors)
  return dir
}

const mixtral = fixture('golden/mixtral/base-f32')
const bad = 9 // the token whose embedding is NaN
const devices = ['cpu', ...(simulated ? (['cuda-sim'] as const) : [])] as const

describe.each(devices)('a token whose embedding is NaN, on %s', (device) => {
  const dir = damaged(
    mixtral,
    /^model\.embed_tokens\.weight$/,
    Number.NaN,
    (i, [, width]) => Math.floor(i / width!) === bad,
  )
  const model = useModel(dir, { device, maxTokens: 64 })
  const good = [1, 5, 13, 4]
  const numeric = (message: RegExp) => ({
    name: 'MoeError',
    code: 'ERR_MOE_NUMERIC',
    message: expect.stringMatching(message),
  })

  it.each([
    ['greedy', { temperature: 0 }],
    ['drawn', { temperature: 1, topP: 0.9, seed: 1 }],
    ['with a penalty', { repetitionPenalty: 1.2 }],
  ])('ends the generation, and leaves its neighbour alone: %s', async (_, sampling) => {
    const options = { ...sampling, maxNewTokens: 3, stopIds: [] }
    const alone = await model().generate(good, options)
    const [broken, beside] = await Promise.allSettled([
      model().generate([1, bad, 13], options),
      model().generate(good, options),
    ])
    expect(broken).toMatchObject({
      reason: numeric(/^generate: logits at position 2 must be finite, got NaN .* token id 0;/),
    })
    expect(beside).toMatchObject({ status: 'fulfilled', value: { ids: alone.ids } })
  })

  it.each<[ForwardOptions, RegExp]>([
    [{ logits: 'last' }, /^forward: logits at position 3 must be finite, got NaN at index 0;/],
    [{ logits: 'all' }, /logits at position 2 must/],
    [{ logits: 'none' }, /logits at position 3 must/],
    [{ logits: 'none', hiddenStates: true }, /hidden states of layer 0 at position 2 must/],
  ])('forward says so if it is asked to: %j', async (options, message) => {
    const ids = [1, 5, bad, 4]
    await expect(model().forward(ids, { ...options, checkNumerics: true })).rejects.toMatchObject(
      numeric(message),
    )
    const { logits } = await model().forward(ids, options)
    if (options.logits !== 'none') expect(logits.some(Number.isNaN)).toBe(true)
    const fine = await model().forward(good, { ...options, checkNumerics: true })
    expect(fine).toEqual(await model().forward(good, options))
  })

  it('leaves a sequence as it was', async () => {
    using sequence = model().sequence()
    await sequence.forward(good)
    const error = await failure(() => sequence.generate([7, bad], { maxNewTokens: 2 }))
    expect(error).toMatchObject(numeric(/at position 5 must/))
    expect(await failure(() => sequence.forward([bad], { checkNumerics: true }))).toMatchObject(
      numeric(/at position 4 must/),
    )
    expect(sequence.ids).toEqual(good)
    expect((await sequence.forward([7])).logits).toEqual(
      (await model().forward([...good, 7])).logits,
    )
  })
})

describe.each(['mixtral/base-f32', 'mixtral/window-f32', 'deepseek_v2/lite-yarn-f32'])(
  'what comes before a token that is NaN, in %s on the CPU',
  (name) => {
    const dir = damaged(
      fixture('golden', name),
      /^model\.embed_tokens\.weight$/,
      Number.NaN,
      (i, [, width]) => Math.floor(i / width!) === bad,
    )
    const model = useModel(dir, { device: 'cpu', maxTokens: 128 })

    it('has the bits that it has without it', async () => {
      const before = Array.from({ length: 41 }, (_, i) => i + 10)
      const behind = [bad, 4, 5, 6, 7, 8, 10]
      const all = { logits: 'all', hiddenStates: true } as const
      const alone = await model().forward(before, all)
      const both = await model().forward([...before, ...behind], all)
      expect(alone.logits.every(Number.isFinite)).toBe(true)
      expect(both.logits.subarray(0, alone.logits.length)).toEqual(alone.logits)
      for (const [l, rows] of alone.hiddenStates!.entries())
        expect(both.hiddenStates![l]!.subarray(0, rows.length)).toEqual(rows)
      expect(both.logits.subarray(alone.logits.length).some(Number.isFinite)).toBe(false)
    })
  },
)

// Wherever the number is that is none, it reaches the logits. Not here: what the model does not read.
describe.each(devices)('a weight that is not a number, on %s', (device) => {
  it.each([
    ['mixtral/base-f32', 'embed_tokens|lm_head|model\\.norm'],
    ['mixtral/base-f32', 'input_layernorm|post_attention_layernorm'],
    ['mixtral/base-f32', 'self_attn\\.[qk]_proj'],
    ['mixtral/base-f32', 'self_attn\\.[vo]_proj'],
    ['mixtral/base-f32', 'layers\\.0\\..*gate\\.weight'],
    ['mixtral/base-f32', 'experts\\.\\d+\\.w[12]'],
    ['moepp/base-f32', 'layers\\.0\\..*gate\\.wg'],
    ['moepp/base-f32', 'layers\\.1\\..*gate_map'],
    ['yuan/tiny-a', 'layers\\.1\\..*gate\\.'],
    ['yuan/tiny-a', 'lf_gate'],
  ])('%s: %s', async (name, pattern) => {
    for (const value of device === 'cpu' ? [Number.NaN, Number.POSITIVE_INFINITY] : [Number.NaN]) {
      const dir = damaged(fixture('golden', name), new RegExp(pattern), value)
      await using model = await loadModel(dir, { device, dtype: 'f32', maxTokens: 64 })
      const error = await failure(() => model.generate([1, 8, 15, 22], { maxNewTokens: 1 }))
      expect(error).toMatchObject({ code: 'ERR_MOE_NUMERIC' })
    }
  })
})

describe.each(devices)('a router that goes wrong where it hardly shows, on %s', (device) => {
  const f32 = (shape: number[], ...data: number[]) => ({ data: Float32Array.from(data), shape })
  const i32 = (shape: number[], ...data: number[]) => ({ data: Int32Array.from(data), shape })

  it('topK: NaN or an overflow among what is added to logits makes the weights NaN', async () => {
    const { ids, weights } = await ops.topK(
      {
        logits: f32([4, 3], 1, 2, 3, 1, 2, 3, 1, 2, 3e38, 1, 2, 3),
        adjust: f32([3, 3], 0, Number.NaN, 0, 0, 0, 3e38, Number.NEGATIVE_INFINITY, 0, 0),
        adjustOf: i32([4], -1, 0, 1, 2),
        ...{ kinds: ['ffn', 'ffn', 'ffn'], topK: 2, weights: 'renormalized' },
      },
      { device },
    )
    expect(Array.from(ids.data)).toEqual([2, 1, 2, 0, 2, 1, 2, 1])
    const odd = Array.from(weights.data, Number.isNaN)
    expect(odd).toEqual([false, false, true, true, true, true, false, false])
  })

  it('combine: a NaN weight shows for a zero expert and a dropped choice, too', async () => {
    const { out } = await ops.combine(
      {
        expertOut: f32([1, 2], 1, 2),
        rows: i32([4, 2], -1, 0, -1, -1, -1, -1, -1, -1),
        ids: i32([4, 2], 1, 0, 1, 0, 1, 0, 1, 0),
        weights: f32([4, 2], 0.5, 0.5, Number.NaN, 0, 0, Number.NaN, 0.5, 0.5),
        residual: f32([4, 2], 1, 2, 3, 4, 5, 6, 7, 8),
        kinds: ['ffn', 'zero'],
      },
      { device },
    )
    const none = Number.NaN
    expect(Array.from(out.data)).toEqual([1.5, 3, none, none, none, none, 7, 8])
  })
})
