import { describe, expect, it } from 'vitest'
import { describePhatgoose, Phatgoose } from '../../lib/adapters/phatgoose.ts'
import { loadModel } from '../../lib/index.ts'
import { native, type Plan, type Tensor } from '../../lib/native.ts'
import { copyCheckpoint, editJson, failure, readStored, writeStored } from '../support/files.ts'
import { fixture, golden, maxDifference } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const dir = fixture('golden/lora_experts/phatgoose-f32')
const want = golden(`${dir}/golden.safetensors`)
const ids = want.ids('input_ids')

describe('golden data', () => {
  const model = useModel(dir, { maxTokens: 256 })

  it('logits and greedy tokens', async () => {
    const { logits } = await model().forward(ids, { logits: 'all' })
    expect(maxDifference(logits, want.get('prefill.logits'))).toBeLessThan(2e-4)
    const options = { maxNewTokens: 12, stopIds: [], temperature: 0 }
    expect((await model().generate(ids, options)).ids).toEqual(want.ids('prefill.tokens'))
  })

  it('takes no adapters beside its experts', async () => {
    const adapter = fixture('golden/lora_experts/peft-f32/adapter-a')
    expect(await failure(() => model().loadAdapter(adapter))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/of a model whose modules take adapters/),
    })
  })

  it.each(['q_proj', 'k_proj', 'v_proj'])('experts of %s and their probabilities', async (name) => {
    // What the first layer's projections read: normed embeddings.
    const base = golden(`${dir}/model.safetensors`)
    const norm = base.get('model.layers.0.input_layernorm.weight')
    const table = base.rows('model.embed_tokens.weight')
    const rows = ids.flatMap((id) => {
      const row = table[id]!
      const mean = row.reduce((sum, x) => sum + x * x, 0) / row.length
      return Array.from(row, (x, h) => (x / Math.sqrt(mean + 1e-5)) * norm[h]!)
    })
    const [T, K] = [ids.length, norm.length]
    const module = {
      name: `model.layers.0.self_attn.${name}`,
      inputs: K,
      outputs: name === 'q_proj' ? 32 : 16,
    }
    const others = ['q_proj', 'k_proj', 'v_proj', 'o_proj'].flatMap((other) =>
      [0, 1].map((l) => ({
        name: `model.layers.${l}.self_attn.${other}`,
        inputs: K,
        outputs: /[kv]_/.test(other) ? 16 : 32,
      })),
    )
    const experts = (await Phatgoose.open(dir, others, undefined, undefined))!
    const bytes = experts.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0)
    const foreseen = describePhatgoose(dir, others, undefined)
    expect(foreseen).toEqual({ experts: 6, topK: 2, rank: 4, modules: 8, bytes })
    const plan = new (native().Plan)(new (native().Arena)())
    const noted: Partial<Plan> = {
      record(op, fields) {
        const outputs = plan.record(op, fields) as Record<string, Tensor>
        if (op === 'topK') for (const key of ['ids', 'weights']) plan.output(key, outputs[key]!)
        return outputs
      },
    }
    experts.add(noted as Plan, native().tensorFrom(Float32Array.from(rows), [T, K], 'f32'), [
      module,
    ])
    const got = await plan.run({}, 1)
    const chosen = want.ids(`routing.${module.name}.expert_index`)
    expect(Array.from(got.ids!)).toEqual(chosen)
    const probabilities = want.get(`routing.${module.name}.probabilities`)
    const expected = chosen.map((id, i) => probabilities[Math.floor(i / 2) * 6 + id]!)
    expect(maxDifference(got.weights!, expected)).toBeLessThan(1e-5)
  })
})

describe('refused', () => {
  it.each<[string, string, object, RegExp]>([
    [
      'another router',
      'UNSUPPORTED',
      { router: { score: 'arrow' } },
      /score must be "layer_norm", got "arrow"/,
    ],
    ['another kind', 'UNSUPPORTED', { experts_type: 'moles' }, /experts_type must be "phatgoose"/],
    ['an unknown key', 'UNSUPPORTED', { noise: 1 }, /noise must be a key/],
    ['too many to choose', 'CHECKPOINT', { top_k: 7 }, /top_k must be a whole number of at most 6/],
    ['another rank', 'CHECKPOINT', { rank: 5 }, /layer1__0 must be \[32, 5\], got \[32, 4\]/],
    ['fewer experts', 'CHECKPOINT', { num_experts: 5 }, /must be of one of 5 experts/],
    [
      'more experts',
      'CHECKPOINT',
      { num_experts: 7 },
      /expert_embeddings__6 must be \[32\], got nothing/,
    ],
  ])('%s', async (_, code, edit, message) => {
    const copy = copyCheckpoint(dir)
    editJson(`${copy}/experts.json`, (config) => Object.assign(config, edit))
    const error = await failure(() => loadModel(copy, { device: 'cpu', maxTokens: 64 }))
    expect(error).toMatchObject({
      code: `ERR_MOE_${code}`,
      message: expect.stringMatching(message),
    })
  })

  it('experts of modules that the model does not have', async () => {
    const copy = copyCheckpoint(dir)
    const file = `${copy}/experts.safetensors`
    const tensors = [...readStored(file)].map(
      ([name, tensor]) => [name.replace('layers.1.', 'layers.9.'), tensor] as const,
    )
    writeStored(file, new Map(tensors))
    expect(await failure(() => loadModel(copy, { device: 'cpu', maxTokens: 64 }))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/layers\.9\.self_attn\.\w_proj$/),
    })
  })
})
