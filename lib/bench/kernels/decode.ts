import type { Plan, Tensor } from '../../native.ts'
import * as ops from '../../ops/index.ts'
import { OneOp } from '../../standalone/one_op.ts'
import { randomArray } from '../check.ts'
import { chooseIds, placeSlots } from '../shapes.ts'
import type { Bench, KernelBench, Workbench } from '../workbench.ts'
import { places, type Texts } from './texts.ts'

// What a model's decode step has and the ops alone do not: a block table as wide as the whole cache, keys that are rotated
// on their way in, rows that are gathered. A GPU runs each chain in one launch.

/** Blocks of a cache of 36,864 tokens, what 64 texts of 576 need. */
const cacheBlocks = 1152
const few = 64

/** Whether a chain gives the same bits fused and op by op; its ops are checked by themselves. */
async function sameBits(
  where: string,
  bench: Workbench,
  record: (op: OneOp) => Promise<Tensor>,
): Promise<string | undefined> {
  const results: Uint8Array[] = []
  for (const fuse of [true, false]) {
    const op = new OneOp(where, { device: bench.name, fuse })
    op.output({ out: await record(op) })
    const { data } = (await op.run()).out!
    results.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  const [fused, separate] = results as [Uint8Array, Uint8Array]
  const i = fused.findIndex((byte, at) => byte !== separate[at])
  return i < 0 ? undefined : `byte ${i}: ${fused[i]} fused, ${separate[i]} op by op`
}

interface Rows {
  q: Tensor
  k: Tensor
  v: Tensor
  keys: Tensor
  values: Tensor
}

/** The newest token of each text: its rotation, its place in the cache, what it sees. */
function ropeThenAttend(
  plan: Plan,
  { q, k, v, keys, values }: Rows,
  at: ReturnType<typeof places> & { table: Tensor; slots: Tensor },
  scale: number,
): Tensor {
  const { table, slots, ...visible } = at
  ops.ropeCache(plan, { q, k, v, table, positions: visible.ends, slots, keys, values })
  return ops.attention(plan, { q, keys, values, ...visible, scale }).out
}

/** `places` of the newest tokens, with their slots and angles. */
async function newest(bench: Workbench, texts: Texts, D: number) {
  const visible = places(bench, texts)
  const blocks = visible.blockTable.shape[1]!
  const slots = Int32Array.from(
    { length: texts.sequences },
    (_, s) => s * blocks * ops.blockTokens + texts.context - 1,
  )
  const table = await bench.random([texts.context, D], 'f32')
  return { ...visible, table, slots: bench.numbers(slots, [texts.sequences]) }
}

export const ropeAttention: KernelBench = {
  op: 'ropeAttention',

  check: ({ heads: N, keyValueHeads: G, headSize: D }, bench) =>
    sameBits('ropeAttention', bench, async (op) => {
      const random = (shape: number[], seed: number) =>
        op.tensor(randomArray(shape, bench.dtype, seed))
      const row = (heads: number, seed: number) => random([2, heads * D], seed)
      const rows = {
        ...{ q: row(N, 1), k: row(G, 2), v: row(G, 3) },
        keys: random([6, G, D, ops.blockTokens], 4),
        values: random([6, G, ops.blockTokens, D], 5),
      }
      const at = await newest(bench, { sequences: 2, context: 70, tokens: 1 }, D)
      const table = op.tensor(randomArray([70, D], 'f32', 6))
      return ropeThenAttend(op.plan, rows, { ...at, table }, 1 / Math.sqrt(D))
    }),

  async *make({ shape, tokens }, bench) {
    const { heads: N, keyValueHeads: G, headSize: D } = shape
    for (const sequences of tokens.filter((t) => t <= few))
      for (const context of bench.small ? [64] : [512, 4096]) {
        const own = Math.ceil(context / ops.blockTokens)
        const tableBlocks = bench.small ? own : Math.max(cacheBlocks, own)
        const at = await newest(bench, { sequences, context, tokens: 1 }, D)
        const blockTable = bench.numbers(
          Int32Array.from({ length: sequences * tableBlocks }, (_, i) => {
            const [s, block] = [Math.floor(i / tableBlocks), i % tableBlocks]
            return block < own ? s * own + block : 0
          }),
          [sequences, tableBlocks],
        )
        const cacheBytes = 2 * sequences * context * G * D * bench.elementBytes
        const record: Bench['record'] = []
        for (let s = 0; s < bench.sets(cacheBytes, cacheBytes, 16); s++) {
          const qkv = await bench.random([sequences, (N + 2 * G) * D])
          const rows = {
            q: qkv.columns(0, N * D),
            k: qkv.columns(N * D, G * D),
            v: qkv.columns((N + G) * D, G * D),
            keys: await bench.random([sequences * own, G, D, ops.blockTokens]),
            values: await bench.random([sequences * own, G, ops.blockTokens, D]),
          }
          const visible = { ...at, blockTable }
          record.push((plan) => ropeThenAttend(plan, rows, visible, 1 / Math.sqrt(D)))
        }
        const words = `${N} heads, ${G} key heads of ${D}, context ${context} of ${tableBlocks} blocks`
        yield {
          ...{ op: this.op, shape: words, tokens: sequences, record },
          bytes: cacheBytes + sequences * (2 * N + 2 * G) * D * bench.elementBytes,
          flops: 4 * sequences * context * N * D,
        }
        bench.release()
      }
  },
}

export const gatherGemm: KernelBench = {
  op: 'gatherGemm',

  check: ({ hidden: H, expertSize: I }, bench) =>
    sameBits('gatherGemm', bench, async (op) => {
      const x = op.tensor(randomArray([3, H], bench.dtype, 1))
      const weight = randomArray([2 * I, H], bench.dtype, 2, 1 / Math.sqrt(H))
      const weights = [await op.weight('weight', weight, true)]
      const rows = op.tensor({ data: Int32Array.of(2, 0, -1, 1, -1, 3), shape: [3, 2] })
      const offsets = op.tensor({ data: Int32Array.of(0, 4), shape: [2] })
      const { dtype } = bench
      const permuted = ops.permute(op.plan, { x, rows }).out
      const given = { x: permuted, offsets, weights, activation: 'swiglu', dtype } as const
      return ops.groupedGemm(op.plan, given).out
    }),

  async *make({ shape, tokens, routings }, bench) {
    const { hidden: H, expertSize: I, kinds, topK } = shape
    const E = kinds.filter((kind) => kind === 'ffn').length
    const weightBytes = 2 * I * H * bench.elementBytes
    const weights = await Promise.all(
      Array.from({ length: E }, () => bench.weight([2 * I, H], true)),
    )
    for (const T of tokens.filter((t) => t <= few))
      for (const routing of routings) {
        const x = await bench.random([T, H])
        const record: Bench['record'] = []
        const sets = bench.sets(weightBytes, 0, 16)
        let [bytes, flops] = [0, 0]
        for (let s = 0; s < sets; s++) {
          const placed = placeSlots(chooseIds(routing, T, kinds, topK, s + 1), kinds)
          const [rows, offsets] = [
            bench.numbers(placed.rows, [T, topK]),
            bench.numbers(placed.offsets, [E + 1]),
          ]
          record.push((plan) => {
            const permuted = ops.permute(plan, { x, rows }).out
            const given = { x: permuted, offsets, weights, dtype: bench.dtype }
            return ops.groupedGemm(plan, { ...given, activation: 'swiglu' })
          })
          const activations = (T * H + placed.routed * I) * bench.elementBytes
          bytes += placed.distinct * weightBytes + activations
          flops += 4 * placed.routed * I * H
        }
        yield {
          ...{ op: this.op, shape: `[${E}, ${2 * I}, ${H}] gate_up`, tokens: T, routing, record },
          ...{ bytes: bytes / sets, flops: flops / sets },
        }
      }
    bench.release()
  },
}
