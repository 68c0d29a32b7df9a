// One MoE block from single kernels, on typed arrays: routing, permute, two grouped GEMMs, combine.
//   node kernels.mjs [DEVICE]
import { ops } from 'moe-native'

const device = /** @type {import('moe-native').DeviceName} */ (process.argv[2] ?? 'cpu')
const [T, H, I, K] = [4, 16, 32, 2]
/** @type {import('moe-native').ExpertKind[]} */
const kinds = ['ffn', 'ffn', 'ffn', 'copy', 'zero']
/** @param {number[]} shape */
const random = (...shape) => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => Math.random() - 0.5),
})

const x = random(T, H)
const logits = random(T, kinds.length)
const { ids, weights, offsets, rows } = await ops.topK(
  { logits, kinds, topK: K, weights: 'renormalized' },
  { device },
)
const { out: permuted } = await ops.permute({ x, rows }, { device })
const up = [random(2 * I, H), random(2 * I, H), random(2 * I, H)] // gate rows, then up rows
const down = [random(H, I), random(H, I), random(H, I)]
const hidden = await ops.groupedGemm(
  { x: permuted, offsets, weights: up, activation: 'swiglu' },
  { device },
)
const experts = await ops.groupedGemm({ x: hidden.out, offsets, weights: down }, { device })
const residual = random(T, H)
const { out } = await ops.combine(
  { expertOut: experts.out, rows, ids, weights, residual, kinds, x, scale: 1 },
  { device },
)
console.log('experts', ids.data, 'rows', rows.data)
console.log('out', out.shape, out.data.subarray(0, 4))
