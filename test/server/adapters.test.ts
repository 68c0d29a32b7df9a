import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { fixture, golden } from '../support/golden.ts'
import { events, post, useServer } from './support.ts'

// Adapters are models of their own to clients, as vLLM has them.

const dir = fixture('golden/lora_experts/peft-f32')
const want = golden(`${dir}/golden.safetensors`)
const { url, model } = useServer(dir, { name: 'base' }, { dtype: 'f32', maxTokens: 256 })
beforeAll(async () => {
  await model().loadAdapter(path.join(dir, 'adapter-a'))
  await model().loadAdapter(path.join(dir, 'adapter-b'), { name: 'poet' })
})
const asked = {
  ...{ prompt: want.ids('input_ids'), max_tokens: 12, temperature: 0 },
  ...{ ignore_eos: true, return_token_ids: true },
}

it('are listed beside their base', async () => {
  const { data } = (await (await fetch(`${url()}/v1/models`)).json()) as any
  expect(data.map(({ id, parent }: any) => [id, parent])).toEqual([
    ['base', undefined],
    ['adapter-a', 'base'],
    ['poet', 'base'],
  ])
  const one = await fetch(`${url()}/v1/models/poet`)
  expect(await one.json()).toMatchObject({ id: 'poet', object: 'model', parent: 'base' })
  expect((await fetch(`${url()}/v1/models/nobody`)).status).toBe(404)
})

it.each([
  ['base', 'base'],
  ['adapter-a', 'adapter-a'],
  ['poet', 'adapter-b'],
])('%s answers with its own tokens', async (name, results) => {
  const { status, json } = await post(`${url()}/v1/completions`, { ...asked, model: name })
  expect(status).toBe(200)
  expect(json.model).toBe(name)
  expect(json.choices[0].token_ids).toEqual(want.ids(`${results}.tokens`))
  const all = await events(`${url()}/v1/completions`, { ...asked, model: name })
  const ids = all.slice(0, -1).flatMap(({ choices: [choice] }) => choice.token_ids ?? [])
  expect(ids).toEqual(want.ids(`${results}.tokens`))
})

it('another name is none', async () => {
  const { status, json } = await post(`${url()}/v1/completions`, { ...asked, model: 'adapter-b' })
  expect(status).toBe(404)
  expect(json.error).toMatchObject({ code: 'model_not_found', param: 'model' })
})
