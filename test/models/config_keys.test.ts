import { describe, expect, it } from 'vitest'
import { commonKeys } from '../../lib/models/config_keys.ts'
import { describeModel, families } from '../../lib/models/index.ts'
import { familySamples as samples } from '../support/families/index.ts'
import type { Json } from '../support/families/samples.ts'
import { failure } from '../support/files.ts'

const read = (json: Json) => describeModel(json).config

/** A change of some keys, or of the one key. */
const changed = (base: Json, key: string, value: unknown): Json =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? { ...base, ...value }
    : { ...base, [key]: value }

async function refused(json: Json, key: string): Promise<void> {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toContain(`config.json: ${key} must be `)
}

it('every architecture has samples', () => {
  expect(Object.keys(samples)).toEqual(Object.keys(families))
})

describe.each(Object.entries(samples))('keys of %s', (type, { base, used, agreeing = {} }) => {
  const { keys } = families[type]!
  const ignored = [keys, commonKeys].flatMap((table) => Object.values(table.ignored ?? {}).flat())
  const known = new Set([...keys.used, ...commonKeys.used, ...ignored])
  const only = { ...commonKeys.only, ...keys.only }

  it('no key is in two lists of its table', () => {
    for (const table of [keys, commonKeys]) {
      const all = [...table.used, ...Object.keys(table.only ?? {})]
      all.push(...Object.values(table.ignored ?? {}).flat())
      expect(all.filter((key, i) => all.indexOf(key) !== i)).toEqual([])
    }
    expect(Object.keys(only).filter((key) => known.has(key))).toEqual([])
  })

  it('every used key has a sample', () => {
    const sampled = [...Object.keys(used), ...Object.keys(agreeing)]
    expect(sampled.sort()).toEqual([...keys.used].sort())
  })

  it.each(Object.entries(used))('%s is used', (key, value) => {
    expect(read(changed(base, key, value))).not.toEqual(read(base))
  })

  it.each(Object.entries(agreeing))('%s has to agree', (key, value) =>
    refused({ ...base, [key]: value }, key),
  )

  it.each(Object.entries(only))(
    '%s is refused but for values that change nothing',
    async (key, values) => {
      for (const value of [...values, null])
        expect(read({ ...base, [key]: value })).toEqual(read(base))
      for (const value of [true, false, 3, 'gelu', [1], { a: 1 }])
        if (!values.includes(value)) await refused({ ...base, [key]: value }, key)
    },
  )

  it.each(ignored)('%s changes nothing', (key) => {
    if ((keys.used as readonly string[]).includes(key)) return
    for (const value of [true, 0.5, 7, 'x', [1], { a: 1 }, null])
      expect(read({ ...base, [key]: value })).toEqual(read(base))
  })

  const misspelt = (key: string): string[] => [
    `${key}s`,
    `_${key}`,
    key.slice(1),
    key.slice(0, -1),
    key.replaceAll('_', ''),
    key.replaceAll('_', '-'),
    key.toUpperCase(),
  ]
  it('a misspelt key is refused by name', async () => {
    const all = new Set([...known, ...Object.keys(only)])
    const names = [...all].flatMap(misspelt).filter((name) => !all.has(name) && name !== '')
    expect(names.length).toBeGreaterThan(500)
    for (const name of names) await refused({ ...base, [name]: 1 }, name)
  })

  it('names that every object has are keys like others', async () => {
    for (const name of ['constructor', 'toString', 'hasOwnProperty'])
      await refused({ ...base, [name]: 1 }, name)
    await refused(
      JSON.parse(JSON.stringify({ ...base, x: 1 }).replace('"x"', '"__proto__"')),
      '__proto__',
    )
  })

  it('an unknown key that is null is as good as absent', () => {
    expect(read({ ...base, no_such_key: null })).toEqual(read(base))
  })

  it('the published class stands for model_type', () => {
    const { model_type: _, ...rest } = base
    const architectures = [families[type]!.name]
    expect(read({ ...rest, architectures })).toEqual(read(base))
    expect(read({ ...base, architectures: ['Other'] })).toEqual(read(base))
  })
})

it('keys inside moe_config are known ones, too', async () => {
  const { base } = samples.yuan!
  const moe = base.moe_config as Json
  const used = { moe_num_experts: 9, moe_top_k: 3, ffn_hidden_size: 16 }
  const flags = { norm_topk_prob: false, gated_linear_unit: false }
  for (const [key, value] of Object.entries({ ...used, ...flags }))
    expect(read({ ...base, moe_config: { ...moe, [key]: value } })).not.toEqual(read(base))
  for (const [key, value] of Object.entries({ moe_topk: 2, per_layer_experts_blocks: [1] })) {
    const error = await failure(() => read({ ...base, moe_config: { ...moe, [key]: value } }))
    expect(error).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
    expect(error.message).toContain(`config.json: moe_config: ${key} must be `)
  }
})

it.each([
  ['a class of nobody here', { architectures: ['LlamaForCausalLM'] }],
  [
    'a class beside a model_type of nobody here',
    { model_type: 'llama', architectures: ['MixtralForCausalLM'] },
  ],
  ['no list', { architectures: 'MixtralForCausalLM' }],
])('architectures: %s', async (_, json) => {
  const { model_type: __, ...rest } = samples.mixtral!.base
  await refused({ ...rest, ...json }, 'model_type')
})
