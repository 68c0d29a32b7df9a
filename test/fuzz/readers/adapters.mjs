// What is loaded beside a graph: adapters of PEFT, PHATGOOSE's experts.
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { openPeft } from '../../../build/modules/adapters/peft.js'
import { Phatgoose } from '../../../build/modules/adapters/phatgoose.js'
import { adapterFolder } from '../../../build/modules/weights/mistakes.js'
import { jsonText, mutateJson } from '../mutate.mjs'
import { checkEntries, json, madeFolder, stored } from './inputs.mjs'

const modules = ['q_proj', 'v_proj'].map((name) => ({
  ...{ name: `model.layers.0.self_attn.${name}`, inputs: 4, outputs: 6 },
}))

/** A header of f32 tensors, one behind the other, and where they end. */
function headerOf(shapes) {
  let at = 0
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const begin = at
    at += 4 * shape.reduce((n, dim) => n * dim, 1)
    return [name, { dtype: 'F32', shape, data_offsets: [begin, at] }]
  })
  return { header: Object.fromEntries(entries), bytes: at }
}

/** One of the two files is changed. */
function changed(random, settings, { header, bytes }, words) {
  const ofSettings = random.rarely(2)
  const json = ofSettings ? jsonText(random, mutateJson(random, settings, words)) : settings
  const text = ofSettings ? header : mutateJson(random, header, words)
  const one = (value) => (Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value) ?? ''))
  return { json: one(json), tensors: stored(one(text), Buffer.alloc(bytes, 1)) }
}

function write(dir, files) {
  for (const [name, bytes] of Object.entries(files)) {
    const file = path.join(dir, name)
    rmSync(file, { force: true }) // the old one may still be mapped
    writeFileSync(file, bytes)
  }
}

const peftConfig = {
  ...json('fixtures/golden/lora_experts/peft-f32/adapter-a/adapter_config.json'),
  ...{
    r: 2,
    rank_pattern: { v_proj: 3 },
    alpha_pattern: { '^model.layers.0.self_attn.q_proj': 4 },
  },
}
const peftTensors = headerOf(
  Object.fromEntries(
    modules.flatMap(({ name, inputs, outputs }, i) => [
      [`base_model.model.${name}.lora_A.weight`, [2 + i, inputs]],
      [`base_model.model.${name}.lora_B.weight`, [outputs, 2 + i]],
    ]),
  ),
)
const peftWords =
  `LORA IA3 gaussian none all q_proj v_proj self_attn.q_proj ^model rank_pattern alpha_pattern r
  use_rslora lora_alpha pissa F16 BF16 I8 F64 base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.split(
    /\s+/,
  )

export function peft(random) {
  const { json, tensors } = changed(random, peftConfig, peftTensors, peftWords)
  const run = () => {
    const dir = madeFolder('peft')
    write(dir, { 'adapter_config.json': json, 'adapter_model.safetensors': tensors })
    for (const { name, a, b, scaling } of openPeft(adapterFolder('loadAdapter', dir), modules)) {
      const { inputs, outputs } = modules.find((one) => one.name === name)
      assert(Number.isFinite(scaling) && scaling >= 0, `scaling ${scaling}`)
      assert.deepEqual([a.entry.shape[1], b.entry.shape[0]], [inputs, outputs])
      assert(a.entry.shape[0] === b.entry.shape[1], 'one rank')
      checkEntries(new Map([a.entry, b.entry].entries()))
    }
  }
  return { bytes: Buffer.concat([json, tensors]), run }
}

const experts = {
  ...json('fixtures/golden/lora_experts/phatgoose-f32/experts.json'),
  ...{ num_experts: 2, rank: 2, top_k: 1 },
}
const [{ name: module, inputs, outputs }] = modules
const expertTensors = headerOf(
  Object.fromEntries(
    [0, 1].flatMap((i) => [
      [`${module}._addons.router.expert_embeddings__${i}`, [inputs]],
      [`${module}._addons.expert_lora.layer1__${i}`, [inputs, 2]],
      [`${module}._addons.expert_lora.layer2__${i}`, [2, outputs]],
    ]),
  ),
)
const expertWords =
  `phatgoose layer_norm softmax 1/sqrt(in_features) router F16 BF16 I32 num_experts rank eps
  ${module}._addons.expert_lora.layer1__2`.split(/\s+/)

export function phatgoose(random) {
  const { json, tensors } = changed(random, experts, expertTensors, expertWords)
  const run = async () => {
    const dir = madeFolder('phatgoose')
    write(dir, { 'experts.json': json, 'experts.safetensors': tensors })
    const loaded = await Phatgoose.open(dir, modules, undefined, undefined)
    for (const tensor of loaded.tensors) tensor.release()
  }
  return { bytes: Buffer.concat([json, tensors]), run }
}
