// The most memory that loading takes, over what is packed: a synthetic checkpoint in each way that files store matrices,
// each loaded by a process of its own, whose largest resident set is read from /proc (Linux).
//   node bench/load_memory.mjs [--experts 8] [--size 4096] [--json]
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { native } from '../build/modules/native.js'
import { loadModel } from '../dist/index.js'

const hidden = 2048
const bytesOf = { BF16: 2, F16: 2, F32: 4, I32: 4, U8: 1, F8_E4M3: 1 }

/** Random bytes that are finite numbers of every kind, as scales and as values. */
const noise = Buffer.alloc(1 << 20)
for (let i = 0, seed = 1; i < noise.length; i++) {
  seed = (seed * 48271) % 2147483647
  noise[i] = i % 2 ? 0x1c + (seed & 3) : seed >> 8
}

/** Writes tensors [name, dtype, shape][] whose bytes mean nothing. */
function writeTensors(file, tensors) {
  let at = 0
  const entries = tensors.map(([name, dtype, shape]) => {
    const begin = at
    at += bytesOf[dtype] * shape.reduce((n, dim) => n * dim, 1)
    return [name, { dtype, shape, data_offsets: [begin, at] }]
  })
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const handle = openSync(file, 'w')
  writeSync(handle, Buffer.concat([length, json]))
  for (let left = at; left > 0; left -= noise.length)
    writeSync(handle, noise, 0, Math.min(left, noise.length))
  closeSync(handle)
}

const plain = (name, N, K) => [[`${name}.weight`, 'BF16', [N, K]]]

/** How the experts' matrices [N, K] lie, and what config.json says of it. */
const kinds = {
  bf16: { weights: 'int4', matrix: plain },
  gptq: {
    matrix: (name, N, K) => [
      [`${name}.qweight`, 'I32', [K / 8, N]],
      [`${name}.qzeros`, 'I32', [K / 128, N / 8]],
      [`${name}.scales`, 'F16', [K / 128, N]],
    ],
    said: { quant_method: 'gptq', bits: 4, group_size: 128, sym: false, desc_act: false },
  },
  awq: {
    matrix: (name, N, K) => [
      [`${name}.qweight`, 'I32', [K, N / 8]],
      [`${name}.qzeros`, 'I32', [K / 128, N / 8]],
      [`${name}.scales`, 'F16', [K / 128, N]],
    ],
    said: { quant_method: 'awq', version: 'gemm', bits: 4, group_size: 128, zero_point: true },
  },
  mxfp4: {},
  fp8: {
    matrix: (name, N, K) => [
      [`${name}.weight`, 'F8_E4M3', [N, K]],
      [`${name}.weight_scale_inv`, 'F32', [N / 128, K / 128]],
    ],
    said: { quant_method: 'fp8', activation_scheme: 'dynamic', weight_block_size: [128, 128] },
  },
}

const shared = {
  ...{ vocab_size: 256, hidden_size: hidden, num_hidden_layers: 1, num_attention_heads: 16 },
  ...{ num_key_value_heads: 2, num_experts_per_tok: 2, max_position_embeddings: 64 },
}
const attention = (size) =>
  Object.entries({
    q: [16 * size, hidden],
    k: [2 * size, hidden],
    v: [2 * size, hidden],
    o: [hidden, 16 * size],
  })

function mixtral({ matrix, said }, E, I) {
  const layer = 'model.layers.0'
  const experts = Array.from({ length: E }, (_, e) => `${layer}.block_sparse_moe.experts.${e}`)
  const config = { model_type: 'mixtral', ...shared, intermediate_size: I, num_local_experts: E }
  return [
    { ...config, quantization_config: said },
    [
      ['model.embed_tokens.weight', 'BF16', [256, hidden]],
      ['lm_head.weight', 'BF16', [256, hidden]],
      ...['model.norm', `${layer}.input_layernorm`, `${layer}.post_attention_layernorm`].map(
        (name) => [`${name}.weight`, 'BF16', [hidden]],
      ),
      ...attention(128).flatMap(([name, [N, K]]) => plain(`${layer}.self_attn.${name}_proj`, N, K)),
      ...plain(`${layer}.block_sparse_moe.gate`, E, hidden),
      ...experts.flatMap((name) => [
        ...matrix(`${name}.w1`, I, hidden),
        ...matrix(`${name}.w3`, I, hidden),
        ...matrix(`${name}.w2`, hidden, I),
      ]),
    ],
  ]
}

function gptOss(E, I) {
  const layer = 'model.layers.0'
  const blocks = (name, N, K) => [
    [`${name}_blocks`, 'U8', [E, N, K / 32, 16]],
    [`${name}_scales`, 'U8', [E, N, K / 32]],
    [`${name}_bias`, 'BF16', [E, N]],
  ]
  const config = { model_type: 'gpt_oss', ...shared, intermediate_size: I, num_local_experts: E }
  return [
    { ...config, head_dim: 64, quantization_config: { quant_method: 'mxfp4' } },
    [
      ['model.embed_tokens.weight', 'BF16', [256, hidden]],
      ['lm_head.weight', 'BF16', [256, hidden]],
      ...['model.norm', `${layer}.input_layernorm`, `${layer}.post_attention_layernorm`].map(
        (name) => [`${name}.weight`, 'BF16', [hidden]],
      ),
      [`${layer}.self_attn.sinks`, 'BF16', [16]],
      ...attention(64).flatMap(([name, [N, K]]) => [
        ...plain(`${layer}.self_attn.${name}_proj`, N, K),
        [`${layer}.self_attn.${name}_proj.bias`, 'BF16', [N]],
      ]),
      [`${layer}.mlp.router.weight`, 'BF16', [E, hidden]],
      [`${layer}.mlp.router.bias`, 'BF16', [E]],
      ...blocks(`${layer}.mlp.experts.gate_up_proj`, 2 * I, hidden),
      ...blocks(`${layer}.mlp.experts.down_proj`, hidden, I),
    ],
  ]
}

const residentMost = () =>
  1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])

/** In a process of its own. */
async function load(dir, weights) {
  native()
  const before = residentMost()
  const model = await loadModel(dir, { device: 'cpu', weights, maxTokens: 64 })
  const packed = model.weights.reduce((n, { bytes }) => n + bytes, 0)
  const format = model.weights.find(({ part }) => part === 'experts').format
  console.log(JSON.stringify({ format, packed, before, most: residentMost() }))
  await model.dispose()
}

const here = fileURLToPath(import.meta.url)
if (process.argv[2] === 'load') await load(process.argv[3], process.argv[4])
else {
  const { values } = parseArgs({
    options: {
      experts: { type: 'string', default: '8' },
      size: { type: 'string', default: '4096' },
      json: { type: 'boolean' },
    },
  })
  const [E, I] = [Number(values.experts), Number(values.size)]
  const results = Object.entries(kinds).map(([file, kind]) => {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'moe-native-memory-'))
    try {
      const [config, tensors] = kind.matrix ? mixtral(kind, E, I) : gptOss(E, I)
      writeFileSync(path.join(dir, 'config.json'), JSON.stringify(config))
      writeTensors(path.join(dir, 'model.safetensors'), tensors)
      const args = [here, 'load', dir, kind.weights ?? 'auto']
      const result = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
      // Three matrices of [I, hidden] an expert.
      return { file, ...result, unpacked: 2 * 3 * E * I * hidden }
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
  if (values.json) console.log(JSON.stringify(results))
  else
    for (const { file, format, packed, before, most, unpacked } of results) {
      const mb = (n) => (n / 1e6).toFixed(0)
      console.log(
        `${file} as ${format}: ${mb(packed)} MB packed (experts ${mb(unpacked)} MB in bf16), at most ${mb(most)} MB, ` +
          `${mb(most - 1.05 * packed)} MB above it and 5 %; ${mb(before)} MB before loading`,
      )
    }
}
