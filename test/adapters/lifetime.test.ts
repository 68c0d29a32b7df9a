import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel, type Model } from '../../lib/index.ts'
import {
  copyCheckpoint,
  editJson,
  failure,
  readStored,
  temporaryFolder,
  writeStored,
} from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const dir = fixture('golden/lora_experts/peft-f32')
const adapter = path.join(dir, 'adapter-a')
const load = () => loadModel(dir, { device: 'cpu', dtype: 'f32', maxTokens: 512 })
const asked = { maxNewTokens: 30, stopIds: [], temperature: 0 }

describe('an adapter', () => {
  it('goes when the last text that uses it has ended', async () => {
    await using model = await load()
    const { name } = await model.loadAdapter(adapter)
    const alone = await model.generate([1, 2, 3], { ...asked, adapter: name })
    const running = model.generate([1, 2, 3], { ...asked, adapter: name, cacheSalt: 'x' })
    const sequence = model.sequence({ adapter: name })
    await sequence.forward([1, 2])
    const fork = sequence.fork()
    let gone = false
    const going = model.unloadAdapter(name).then(() => {
      gone = true
    })
    expect(model.adapters).toEqual([])
    expect(await failure(() => model.generate([1], { adapter: name }))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: 'generate: adapter must be absent, since none is loaded, got "adapter-a"',
    })
    // Another takes its name, and ids of others move when it has gone.
    await model.loadAdapter(path.join(dir, 'adapter-b'), { name })
    const other = await model.generate([1, 2, 3], { ...asked, adapter: name })
    expect((await running).ids).toEqual(alone.ids)
    sequence.dispose()
    expect((await fork.generate([3], asked)).ids).toEqual(alone.ids)
    expect(gone).toBe(false)
    fork.dispose()
    await going
    const again = await model.generate([1, 2, 3], { ...asked, adapter: name, cacheSalt: 'y' })
    expect(again.ids).toEqual(other.ids)
    expect(other.ids).not.toEqual(alone.ids)
  })

  it('is not held by a call that failed or was aborted', async () => {
    await using model = await load()
    const { name } = await model.loadAdapter(adapter)
    const abort = new AbortController()
    const cut = model.generate([1, 2], { ...asked, adapter: name, signal: abort.signal })
    await failure(async () => {
      for await (const _ of cut) abort.abort(new Error('enough'))
    })
    await failure(() => model.generate([1], { adapter: name, signal: AbortSignal.abort() }))
    await failure(() => model.generate(Array(2000).fill(1), { adapter: name }))
    await failure(() => model.forward([1], { adapter: name, signal: AbortSignal.abort() }))
    await model.unloadAdapter(name)
  })

  it('goes with its model', async () => {
    const model = await load()
    await model.loadAdapter(adapter)
    model.sequence({ adapter: 'adapter-a' })
    const unloading = model.unloadAdapter('adapter-a')
    await model.dispose()
    await unloading
    expect(await failure(() => model.loadAdapter(adapter))).toMatchObject({
      code: 'ERR_MOE_DISPOSED',
    })
    const other = await load()
    const loading = failure(() => other.loadAdapter(adapter))
    await other.dispose()
    expect(await loading).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
  })
})

describe('refused', () => {
  const model = useModel(dir, { device: 'cpu', maxTokens: 64 })

  /** A copy of the adapter with other files. */
  function changed(edit: { config?: object; tensors?: (all: Map<string, any>) => void }) {
    const copy = copyCheckpoint(adapter)
    editJson(`${copy}/adapter_config.json`, (config) => Object.assign(config, edit.config))
    const file = `${copy}/adapter_model.safetensors`
    const tensors = readStored(file)
    edit.tensors?.(tensors)
    writeStored(file, tensors)
    return copy
  }
  const q = 'base_model.model.model.layers.0.self_attn.q_proj'
  const f32 = (...shape: number[]) => {
    const count = shape.reduce((n, dim) => n * dim, 1)
    return { dtype: 'F32', shape, data: new Uint8Array(4 * count) }
  }

  it.each<[string, string, Parameters<typeof changed>[0], RegExp]>([
    ['DoRA', 'UNSUPPORTED', { config: { use_dora: true } }, /use_dora must be false, got true/],
    ['biases', 'UNSUPPORTED', { config: { bias: 'all' } }, /bias must be "none", got "all"/],
    [
      'other modules',
      'UNSUPPORTED',
      { config: { modules_to_save: ['lm_head'] } },
      /modules_to_save must be/,
    ],
    ['another method', 'UNSUPPORTED', { config: { peft_type: 'IA3' } }, /peft_type must be "LORA"/],
    [
      'a base that was changed',
      'UNSUPPORTED',
      { config: { init_lora_weights: 'pissa' } },
      /init_lora_weights/,
    ],
    [
      'a key of tomorrow',
      'UNSUPPORTED',
      { config: { use_magic: true } },
      /use_magic must be a key/,
    ],
    [
      'a pattern',
      'UNSUPPORTED',
      { config: { rank_pattern: { '(a+)+$': 4 } } },
      /rank_pattern must be by the ends of names/,
    ],
    [
      'another rank',
      'CHECKPOINT',
      { config: { r: 5 } },
      /q_proj\.lora_A\.weight must be \[5, 32\], got \[4, 32\]/,
    ],
    [
      'another base',
      'CHECKPOINT',
      { tensors: (all) => void all.set(`${q}.lora_B.weight`, f32(48, 4)) },
      /q_proj\.lora_B\.weight must be \[32, 4\], got \[48, 4\]/,
    ],
    [
      'half a module',
      'CHECKPOINT',
      { tensors: (all) => void all.delete(`${q}.lora_B.weight`) },
      /q_proj\.lora_A\.weight must be beside lora_B/,
    ],
    [
      'experts',
      'UNSUPPORTED',
      {
        tensors: (all) =>
          void all.set(
            'base_model.model.model.layers.0.block_sparse_moe.gate.lora_A.weight',
            f32(4, 32),
          ),
      },
      /block_sparse_moe\.gate\.lora_A\.weight must be .*\(q_proj, k_proj, v_proj, o_proj\)/,
    ],
    [
      'embeddings',
      'UNSUPPORTED',
      {
        tensors: (all) =>
          void all.set('base_model.model.model.embed_tokens.lora_embedding_A', f32(4, 90)),
      },
      /embed_tokens\.lora_embedding_A/,
    ],
    [
      'integers',
      'DTYPE',
      { tensors: (all) => void all.set(`${q}.lora_A.weight`, { ...f32(4, 32), dtype: 'I32' }) },
      /must be F32/,
    ],
    ['nothing', 'CHECKPOINT', { tensors: (all) => all.clear() }, /tensors must be there, got none/],
  ])('%s', async (_, code, edit, message) => {
    const error = await failure(() => model().loadAdapter(changed(edit)))
    expect(error).toMatchObject({
      code: `ERR_MOE_${code}`,
      message: expect.stringMatching(message),
    })
    expect(model().adapters).toEqual([])
  })

  it('folders of something else', async () => {
    const code = async (dir: any) => (await failure(() => model().loadAdapter(dir))).code
    expect(await code(dir)).toBe('ERR_MOE_CHECKPOINT')
    expect(await code(temporaryFolder())).toBe('ERR_MOE_CHECKPOINT')
    expect(await code(path.join(dir, 'nowhere'))).toBe('ERR_MOE_CHECKPOINT')
    expect(await code(7)).toBe('ERR_MOE_OPTION')
    const checkpoint = await failure(() => loadModel(adapter))
    expect(checkpoint.message).toMatch(/got a LoRA adapter; load its base model .* loadAdapter/)
  })

  it('names', async () => {
    const own: Model = model()
    await own.loadAdapter(adapter, { name: 'x' })
    expect(await failure(() => own.loadAdapter(adapter, { name: 'x' }))).toMatchObject({
      message: 'loadAdapter: name must be of no other adapter, got "x"',
    })
    for (const run of [
      () => own.generate([1], { adapter: 'y' }),
      () => own.forward([1], { adapter: 'y' }),
      async () => own.sequence({ adapter: 'y' }),
      () => own.unloadAdapter('y'),
    ])
      expect((await failure(run)).message).toMatch(
        /adapter must be one that is loaded \("x"\), got "y"$/,
      )
    using sequence = own.sequence({ adapter: 'x' })
    for (const run of [
      () => sequence.generate([1], { adapter: 'x' }),
      () => sequence.forward([1], { adapter: 'x' }),
    ])
      expect((await failure(run)).message).toMatch(/adapter must be absent for a sequence/)
  })
})
