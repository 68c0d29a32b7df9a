// The same steps again and again, and once without overlapping kernels: bits that differ are a race between kernels or
// between blocks, which no comparison with a reference shows for sure.
//   node scripts/gpu_check/repeat.mjs [--device cuda] [--times 20]
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { randomModel } from '../../dist/index.js'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    times: { type: 'string', default: '20' },
  },
})
const { device } = values
const simulated = device.startsWith('cuda-sim')
const [H, I, layers] = simulated ? [64, 64, 1] : [1024, 1024, 4]
const common = {
  vocab_size: 1000,
  hidden_size: H,
  num_hidden_layers: layers,
  num_attention_heads: H / 64 + 1,
}
const latent = {
  kv_lora_rank: 64,
  q_lora_rank: 64,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 64,
  v_head_dim: 64,
}
const configs = {
  yuan: {
    ...{
      ...common,
      model_type: 'yuan',
      num_attention_heads: H / 64,
      attention_projection_size: 2 * H,
    },
    moe_config: { moe_num_experts: 8, moe_top_k: 2, ffn_hidden_size: I, gated_linear_unit: true },
  },
  moepp: {
    ...{
      ...common,
      model_type: 'MoE++',
      num_attention_heads: H / 64,
      intermediate_size: I,
      num_experts: [12],
    },
    ...{ moe_use_logits_norm: true, moe_2layer_gate: false, moe_feature_no_mul_topk: true },
  },
  mixtral: {
    ...{
      ...common,
      model_type: 'mixtral',
      num_attention_heads: H / 64,
      num_key_value_heads: Math.max(1, H / 256),
    },
    ...{ intermediate_size: I, num_local_experts: 8, num_experts_per_tok: 2 },
  },
  deepseek_v3: {
    ...{
      ...common,
      ...latent,
      model_type: 'deepseek_v3',
      num_attention_heads: 8,
      intermediate_size: I,
    },
    ...{
      moe_intermediate_size: I,
      n_routed_experts: 8,
      num_experts_per_tok: 2,
      n_group: 2,
      topk_group: 1,
    },
    first_k_dense_replace: 0,
  },
}
const token = (i) => 1 + ((i * 7919 + i * i * 31) % 990)
const text = (n, seed) => Array.from({ length: n }, (_, i) => token(i + 100 * seed))

/** Prompts of several sizes, alone and together, then tokens one by one. */
async function bits(model) {
  const hash = createHash('sha256')
  const add = ({ logits }) =>
    hash.update(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength))
  const sizes = simulated ? [1, 20] : [1, 5, 40, 300, 1500]
  for (const n of sizes) add(await model.forward(text(n, n)))
  const together = await Promise.all(
    Array.from({ length: 9 }, (_, s) => model.forward(text(s + 1, s))),
  )
  together.forEach(add)
  const sequence = model.sequence()
  for (let i = 0; i < (simulated ? 3 : 40); i++) add(await sequence.forward([token(i)]))
  sequence.dispose()
  return hash.digest('hex').slice(0, 16)
}

const alone = process.env.MOE_CUDA_PDL === 'off'
let different = 0
const apart = alone
  ? undefined
  : new Map(
      execFileSync(
        process.execPath,
        [fileURLToPath(import.meta.url), '--device', device, '--times', '1'],
        {
          encoding: 'utf8',
          env: { ...process.env, MOE_CUDA_PDL: 'off' },
        },
      )
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .map(({ model, bits: own }) => [model, own[0]]),
    )
for (const [name, config] of Object.entries(configs)) {
  const model = await randomModel(config, { device, dtype: 'bf16', maxTokens: 4096 })
  const seen = new Map()
  for (let i = 0; i < Number(values.times); i++) {
    const own = await bits(model)
    seen.set(own, (seen.get(own) ?? 0) + 1)
  }
  await model.dispose()
  const withoutOverlap = apart?.get(name)
  console.log(
    JSON.stringify({
      model: name,
      bits: [...seen.keys()],
      times: [...seen.values()],
      withoutOverlap,
    }),
  )
  if (seen.size > 1 || (withoutOverlap !== undefined && !seen.has(withoutOverlap))) different++
}
if (different > 0) console.error(`${different} models gave different bits`)
process.exitCode = different > 0 ? 1 : 0
