// One model, several LoRA adapters, texts of all of them in the same steps.
//   node adapters.mjs [MODEL ADAPTER...]
// Without arguments: the demo, and an adapter of random numbers in PEFT's layout, which stands for a trained one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { demoModel, loadModel } from 'moe-native'

/**
 * Writes adapter_config.json and adapter_model.safetensors for the queries and values of a model.
 *
 * @param {import('moe-native').ModelConfig} config
 * @param {number} rank
 */
function randomAdapter(config, rank) {
  const { hiddenSize, numHeads, numKeyValueHeads, headSize, numLayers } = config
  /** @type {[name: string, shape: [number, number]][]} */
  const tensors = []
  for (let l = 0; l < numLayers; l++) {
    const module = `base_model.model.model.layers.${l}.self_attn`
    tensors.push(
      [`${module}.q_proj.lora_A.weight`, [rank, hiddenSize]],
      [`${module}.q_proj.lora_B.weight`, [numHeads * headSize, rank]],
      [`${module}.v_proj.lora_A.weight`, [rank, hiddenSize]],
      [`${module}.v_proj.lora_B.weight`, [numKeyValueHeads * headSize, rank]],
    )
  }
  /** @type {Record<string, object>} */
  const header = {}
  const parts = []
  let end = 0
  for (const [name, shape] of tensors) {
    const numbers = Float32Array.from({ length: shape[0] * shape[1] }, () => Math.random() - 0.5)
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + numbers.byteLength] }
    parts.push(Buffer.from(numbers.buffer))
    end += numbers.byteLength
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const folder = mkdtempSync(path.join(os.tmpdir(), 'adapter-'))
  writeFileSync(`${folder}/adapter_model.safetensors`, Buffer.concat([length, text, ...parts]))
  const peft = {
    peft_type: 'LORA',
    r: rank,
    lora_alpha: 2 * rank,
    target_modules: ['q_proj', 'v_proj'],
  }
  writeFileSync(`${folder}/adapter_config.json`, JSON.stringify(peft))
  return folder
}

const [dir = demoModel, ...given] = process.argv.slice(2)
const model = await loadModel(dir)
const made = given.length === 0 ? randomAdapter(model.config, 8) : undefined
for (const folder of made ? [made] : given) {
  const { name, rank, modules, bytes } = await model.loadAdapter(
    folder,
    made ? { name: 'random' } : {},
  )
  console.log(`${name}: rank ${rank}, ${modules} modules, ${(bytes / 1e6).toFixed(2)} MB`)
}
if (made) rmSync(made, { recursive: true })

const names = [undefined, ...model.adapters.map(({ name }) => name)]
const texts = await Promise.all(
  names.map((adapter) => model.generate('ROMEO:', { adapter, maxNewTokens: 24 })),
)
for (const [i, { text }] of texts.entries()) console.log(`--- ${names[i] ?? 'base'}\n${text}`)
await model.dispose()
