import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { describeModel } from '../../lib/models/index.ts'
import { copyCheckpoint, editJson, failure, readStored, writeStored } from '../support/files.ts'
import { fuseExperts } from '../support/fused.ts'
import { fixture, golden, maxDifference } from '../support/golden.ts'

/** Logits and weights of a golden checkpoint with a changed configuration. */
async function run(folder: string, change: object, routing = true) {
  const dir = copyCheckpoint(fixture('golden', folder))
  editJson(path.join(dir, 'config.json'), (json) => Object.assign(json, change))
  await using model = await loadModel(dir, { device: 'cpu', dtype: 'f32', maxTokens: 64 })
  const ids = Array.from({ length: 24 }, (_, i) => i + 3)
  const r = await model.forward(ids, { logits: 'all', routing })
  const weights = r.routing?.flatMap((layer) => (layer ? Array.from(layer.weights) : []))
  return { logits: Array.from(r.logits), weights }
}

const keysOf = (folder: string): Record<string, unknown> =>
  JSON.parse(readFileSync(path.join(fixture('golden', folder), 'config.json'), 'utf8'))

describe('deepseek', () => {
  it('a single expert keeps its probability, whatever norm_topk_prob says', async () => {
    const one = { num_experts_per_tok: 1 }
    const [plain, normed] = await Promise.all(
      [false, true].map((norm_topk_prob) => run('deepseek/base-f32', { ...one, norm_topk_prob })),
    )
    expect(normed).toEqual(plain)
    expect(Math.max(...normed!.weights!)).toBeLessThan(1)
  })
})

describe('llama_moe', () => {
  it('multiply_gate_scores: false adds experts up, without scores and factor', async () => {
    const none = { multiply_gate_scores: false }
    const { weights, logits } = await run('llama_moe/base-f32', none)
    expect(new Set(weights)).toEqual(new Set([1]))
    const other = { ...none, score_scale_factor: 7, gate_use_softmax: false }
    expect((await run('llama_moe/base-f32', other)).logits).toEqual(logits)
  })
})

describe('null where it is not the same as nothing', () => {
  const read = (folder: string, change: object) =>
    describeModel({ ...keysOf(folder), ...change }).config as any
  const moe = { ...(keysOf('yuan/tiny-a').moe_config as object), norm_topk_prob: null }

  it.each<[string, string, object, string]>([
    ['yuan/tiny-a', 'tie_word_embeddings', { tie_word_embeddings: null }, 'tieWordEmbeddings'],
    ['yuan/tiny-a', 'norm_topk_prob', { moe_config: moe }, 'normTopkProb'],
    ['deepseek_v3/base-f32', 'norm_topk_prob', { norm_topk_prob: null }, 'normTopkProb'],
    ['qwen2_moe/base-f32', 'qkv_bias', { qkv_bias: null }, 'qkvBias'],
  ])('%s: %s is false, as Python takes it', (folder, _, change, key) => {
    expect(read(folder, change)[key]).toBe(false)
  })

  it('gpt_oss: its layers that slide need a window', async () => {
    const error = await failure(() => read('gpt_oss/base-f32', { sliding_window: null }))
    expect(error).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: 'config.json: sliding_window must be a whole number of at least 1, got null',
    })
  })
})

describe('phimoe', () => {
  it('of transformers 5: experts in one tensor, and its router under that name', async () => {
    const source = fixture('golden/phimoe/base-f32')
    const dir = copyCheckpoint(source)
    fuseExperts(dir)
    const file = path.join(dir, 'model.safetensors')
    const renamed = [...readStored(file)].map(
      ([name, tensor]) => [name.replace('.mlp.gate.', '.mlp.router.'), tensor] as const,
    )
    writeStored(file, new Map(renamed))
    const want = golden(`${source}/golden.safetensors`)
    await using model = await loadModel(dir, { device: 'cpu', dtype: 'f32', maxTokens: 128 })
    const { logits } = await model.forward(want.ids('prefill.input_ids'), { logits: 'all' })
    expect(maxDifference(logits, want.get('prefill.logits'))).toBeLessThan(2e-4)
  })
})

describe('qwen3_moe', () => {
  it('sliding_window: 0 is as good as any where windows are not used', async () => {
    const json = keysOf('qwen3_moe/base-f32')
    const { config } = describeModel({ ...json, sliding_window: 0, use_sliding_window: false })
    expect(config).toEqual(describeModel(json).config)
  })

  it('sliding_window: null is no window even where windows are used', async () => {
    const off = await run('qwen3_moe/window-f32', { use_sliding_window: false }, false)
    const none = await run('qwen3_moe/window-f32', { sliding_window: null }, false)
    expect(none).toEqual(off)
    expect(none).not.toEqual(await run('qwen3_moe/window-f32', {}, false))
  })

  it('num_key_value_heads: null is one a query head, as in the other families', async () => {
    const heads = keysOf('qwen3_moe/window-f32').num_key_value_heads
    expect(heads).toBe(keysOf('qwen3_moe/window-f32').num_attention_heads)
    const none = await run('qwen3_moe/window-f32', { num_key_value_heads: null }, false)
    expect(none).toEqual(await run('qwen3_moe/window-f32', {}, false))
  })
})
