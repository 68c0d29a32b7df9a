import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'
import { runScript } from '../support/child.ts'

const [E, K, size] = [128, 8, 512]
const config = {
  ...{ model_type: 'qwen3_moe', vocab_size: 64, hidden_size: size, num_hidden_layers: 1 },
  ...{ num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16 },
  ...{ num_experts: E, num_experts_per_tok: K, moe_intermediate_size: size },
}
const MiB = 2 ** 20
const expert = 3 * size * size * 2 // bytes in bf16

/** Prints the MiB of all pages that a step of 1 and of 60 tokens touched, by the kernel's count. */
const source = `
const model = await moe.randomModel(${JSON.stringify(config)}, { dtype: 'bf16', device: 'cpu', maxTokens: 64 })
const touched = async (ids) => {
  fs.writeFileSync('/proc/self/clear_refs', '1')
  await model.forward(ids)
  const pages = fs.readFileSync('/proc/self/smaps', 'utf8').matchAll(/Referenced: +(\\d+) kB/g)
  return [...pages].reduce((sum, [, kB]) => sum + Number(kB), 0) / 1024
}
const some = (n, from) => Array.from({ length: n }, (_, i) => (i + from) % 64)
for (const n of [1, 60]) {
  await touched(some(n, 0))
  console.log(await touched(some(n, 1)))
}
await model.dispose()
`

// Only Linux tells a process which of its pages were touched.
it.skipIf(!existsSync('/proc/self/clear_refs'))(
  'a token of 128 experts, 8 chosen, reads 8 experts',
  async () => {
    const { code, stdout, stderr } = await runScript(source)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const [one, prompt] = stdout.trim().split('\n').map(Number)
    const edges = K * 2 * 2 * MiB // each of an expert's two matrices may begin inside a huge page
    const rest = 6 * MiB // attention, activations and what JavaScript touches meanwhile
    expect(one! * MiB).toBeGreaterThan(K * expert)
    expect(one! * MiB).toBeLessThan(K * expert + edges + rest)
    expect(prompt! * MiB).toBeGreaterThan(0.9 * E * expert)
  },
)
