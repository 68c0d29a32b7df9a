import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ForwardResult, loadModel, type Model } from '../../lib/index.ts'
import { bits, everything, text } from '../support/bits.ts'
import { copyCheckpoint, editJson, readStored, writeStored } from '../support/files.ts'
import { fixture, golden, maxDifference, range, rms } from '../support/golden.ts'
import { testDevice, useModel } from '../support/use_model.ts'

const dir = fixture('golden/lora_experts/peft-f32')
const want = golden(`${dir}/golden.safetensors`)
const ids = want.ids('input_ids')
const names = [undefined, 'adapter-a', 'adapter-b'] as const
const all = (adapter: string | undefined) => ({ ...everything, adapter })

async function loadBoth(model: Model): Promise<Model> {
  for (const name of names) if (name) await model.loadAdapter(path.join(dir, name))
  return model
}
const withBoth = async (options = {}) =>
  loadBoth(await loadModel(dir, { device: testDevice, dtype: 'f32', maxTokens: 512, ...options }))

describe('golden data', () => {
  const loaded = useModel(dir, { maxTokens: 512 })

  it('logits and greedy tokens, with different adapters in one batch', async () => {
    const model = await loadBoth(loaded())
    const results = await Promise.all(names.map((name) => model.forward(ids, all(name))))
    const texts = await Promise.all(
      names.map((adapter) =>
        model.generate(ids, { adapter, maxNewTokens: 12, stopIds: [], temperature: 0 }),
      ),
    )
    for (const [i, name = 'base'] of names.entries()) {
      expect(maxDifference(results[i]!.logits, want.get(`${name}.logits`))).toBeLessThan(2e-4)
      expect(texts[i]!.ids).toEqual(want.ids(`${name}.tokens`))
    }
    expect(model.adapters).toEqual([
      { name: 'adapter-a', rank: 4, modules: 4, parameters: 896, bytes: 3584 },
      { name: 'adapter-b', rank: 8, modules: 8, parameters: 3584, bytes: 14336 },
    ])
  })

  // An adapter is small beside its base: its numbers stay f32, sums are f32, and rows are rounded once.
  it('bf16 activations', async () => {
    await using model = await withBoth({ dtype: 'bf16' })
    const { logits } = await model.forward(ids, all('adapter-b'))
    // A router's other choice moves some tokens a lot.
    const far = rms(want.get('adapter-b.logits'), want.get('base.logits'))
    expect(rms(logits, want.get('adapter-b.logits'))).toBeLessThan(0.1 * far)
  })
})

describe.each(['f32', 'bf16'] as const)('bits on the CPU, %s', (dtype) => {
  it('of a batch are those of each text alone, and without an adapter those of the base', async () => {
    await using model = await withBoth({ device: 'cpu', dtype })
    await using base = await loadModel(dir, { device: 'cpu', dtype, maxTokens: 512 })
    const texts = range(6).map((i) => text(9 + 11 * i, i).map((id) => id % 90))
    const named = texts.map((ids, i) => ({ ids, adapter: names[i % 3] }))
    const alone: ForwardResult[] = []
    for (const { ids, adapter } of named) alone.push(await model.forward(ids, all(adapter)))
    const together = await Promise.all(named.map((one) => model.forward(one.ids, all(one.adapter))))
    for (const [i, { ids, adapter }] of named.entries()) {
      expect(bits(together[i]!)).toEqual(bits(alone[i]!))
      if (!adapter) expect(bits(together[i]!)).toEqual(bits(await base.forward(ids, everything)))
    }
    // One token after the other, as a prompt's are together.
    using sequence = model.sequence({ adapter: 'adapter-b' })
    const pieces: ForwardResult[] = []
    for (const id of named[2]!.ids) pieces.push(await sequence.forward([id], everything))
    expect(bits(...pieces)).toEqual(bits(alone[2]!))
  })

  it('of what is cached are those of its own adapter', async () => {
    await using model = await withBoth({ device: 'cpu', dtype })
    const prompt = text(75, 4).map((id) => id % 90)
    const asked = { maxNewTokens: 8, stopIds: [], temperature: 0.9, seed: 5, logprobs: 3 }
    const first = []
    for (const adapter of names) first.push(await model.generate(prompt, { ...asked, adapter }))
    expect(first.map(({ usage }) => usage.cachedTokens)).toEqual([0, 0, 0])
    for (const [i, adapter] of names.entries()) {
      const again = await model.generate(prompt, { ...asked, adapter })
      expect(again.usage.cachedTokens).toBe(64)
      expect(again.logprobs).toEqual(first[i]!.logprobs)
    }
    // Another one under a name that was known.
    await model.unloadAdapter('adapter-a')
    await model.loadAdapter(path.join(dir, 'adapter-b'), { name: 'adapter-a' })
    const renamed = await model.generate(prompt, { ...asked, adapter: 'adapter-a' })
    expect(renamed.usage.cachedTokens).toBe(0)
    expect(renamed.logprobs).toEqual(first[2]!.logprobs)
  })
})

describe('merged into the base', () => {
  /** W + s B A in f64, rounded once. */
  function merge(adapter: string, scale: number): string {
    const merged = copyCheckpoint(dir)
    const weights = readStored(`${merged}/model.safetensors`)
    const own = golden(`${dir}/${adapter}/adapter_model.safetensors`)
    const base = golden(`${dir}/model.safetensors`)
    for (const [name, tensor] of weights) {
      const at = `base_model.model.${name.replace(/\.weight$/, '')}`
      if (!own.has(`${at}.lora_A.weight`)) continue
      const [a, b] = [own.rows(`${at}.lora_A.weight`), own.rows(`${at}.lora_B.weight`)]
      const rows = base
        .rows(name)
        .map((row, n) =>
          row.map(
            (w, k) =>
              w + scale * range(a.length).reduce((sum, j) => sum + b[n]![j]! * a[j]![k]!, 0),
          ),
        )
      const data = Float32Array.from(rows.flatMap((row) => [...row]))
      weights.set(name, { ...tensor, data: new Uint8Array(data.buffer) })
    }
    writeStored(`${merged}/model.safetensors`, weights)
    return merged
  }

  it.each([
    ['adapter-a', 16 / 4],
    ['adapter-b', 16 / Math.sqrt(8)],
  ])('%s: the same but for rounding', async (adapter, scale) => {
    await using model = await withBoth()
    await using merged = await loadModel(merge(adapter, scale), {
      device: testDevice,
      dtype: 'f32',
      maxTokens: 64,
    })
    const [ours, theirs] = [
      await model.forward(ids, all(adapter)),
      await merged.forward(ids, everything),
    ]
    expect(maxDifference(ours.logits, theirs.logits)).toBeLessThan(2e-5)
  })
})

describe('a configuration', () => {
  const changed = (edit: (config: any) => void, from = 'adapter-a') => {
    const copy = copyCheckpoint(path.join(dir, from))
    editJson(`${copy}/adapter_config.json`, edit)
    return copy
  }

  it('says scales of modules by the ends of their names', async () => {
    await using model = await withBoth()
    const same = changed((config) => {
      config.lora_alpha = 8
      config.alpha_pattern = { q_proj: 16, 'self_attn.v_proj': 16 }
    })
    await model.loadAdapter(same, { name: 'same' })
    const other = changed((config) => {
      config.alpha_pattern = { 'layers.1.self_attn.q_proj': 8 }
    })
    await model.loadAdapter(other, { name: 'other' })
    const logits = async (name: string) => (await model.forward(ids, { adapter: name })).logits
    expect(await logits('same')).toEqual(await logits('adapter-a'))
    // Behind ^ PEFT needs no end of the name.
    const begins = changed((config) => {
      config.lora_alpha = 1
      config.alpha_pattern = { '^model.layers': 16 }
    })
    await model.loadAdapter(begins, { name: 'begins' })
    expect(await logits('begins')).toEqual(await logits('adapter-a'))
    expect(maxDifference(await logits('other'), await logits('adapter-a'))).toBeGreaterThan(1e-3)
  })

  it('says ranks of modules', async () => {
    await using model = await withBoth()
    const same = changed((config) => {
      config.r = 2
      config.lora_alpha = 16
      config.rank_pattern = {
        '^model.layers.0.self_attn.q_proj': 4,
        'layers.1.self_attn.q_proj': 4,
        v_proj: 4,
      }
    })
    await model.loadAdapter(same, { name: 'same' })
    const { logits } = await model.forward(ids, { adapter: 'same' })
    expect(logits).toEqual((await model.forward(ids, { adapter: 'adapter-a' })).logits)
  })
})
