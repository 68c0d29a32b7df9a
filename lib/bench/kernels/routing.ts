import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, firstDifference, randomArray } from '../check.ts'
import { chooseIds, type ModelShape, placeSlots } from '../shapes.ts'
import type { KernelBench } from '../workbench.ts'

type Choice = Pick<ops.TopKInputs, 'kinds' | 'topK' | 'weights' | 'normStd' | 'givesShare'>

/** How a model's router chooses. */
export function choice({ kinds, topK, router }: ModelShape): Choice {
  const gives = kinds.map((kind) => kind === 'zero')
  return {
    ...{ kinds, topK, weights: router === 'scores' ? 'scores' : 'renormalized' },
    ...(router === 'residual' && { normStd: 1, givesShare: gives }),
  }
}

export const topK: KernelBench = {
  op: 'topK',

  async check(shape, bench) {
    const T = 100
    const E = shape.kinds.length
    const K = shape.topK
    const logits = randomArray([T, E], 'f32', 1)
    const { ids, rows } = await kernels.topK({ logits, ...choice(shape) }, { device: bench.name })
    const placed = placeSlots(ids.data as Int32Array, shape.kinds)
    for (let t = 0; t < T; t++) {
      const order = shape.kinds
        .map((_, e) => e)
        .sort((a, b) => at(logits, t * E + b) - at(logits, t * E + a))
      for (let k = 0; k < K; k++) {
        if (ids.data[t * K + k] !== order[k])
          return `token ${t}: ${ids.data[t * K + k]}, want ${order[k]}`
        if (rows.data[t * K + k] !== placed.rows[t * K + k]) return `token ${t}: another row`
      }
    }
    return undefined
  },

  async *make({ shape, tokens }, bench) {
    const E = shape.kinds.length
    for (const T of tokens) {
      const bytes = T * E * 4 + T * shape.topK * 12
      const inputs = await bench.rotating(bytes, () => bench.random([T, E], 'f32'))
      yield {
        ...{ op: this.op, shape: `[T, ${E}]`, tokens: T, bytes, flops: 0 },
        record: inputs.map((logits) => (plan) => ops.topK(plan, { logits, ...choice(shape) })),
      }
      bench.release()
    }
  },
}

export const permute: KernelBench = {
  op: 'permute',

  async check(shape, bench) {
    const [T, H, K] = [40, shape.hidden, shape.topK]
    const { rows } = placeSlots(chooseIds('uniform', T, shape.kinds, K, 1), shape.kinds)
    const x = randomArray([T, H], bench.dtype, 1)
    const { out } = await kernels.permute(
      { x, rows: { data: rows, shape: [T, K] } },
      { device: bench.name },
    )
    for (const [slot, row] of rows.entries())
      for (let h = 0; row >= 0 && h < H; h += 17)
        if (out.data[row * H + h] !== x.data[Math.floor(slot / K) * H + h])
          return `row ${row} is another token's`
    return undefined
  },

  async *make({ shape, tokens, routings }, bench) {
    const { hidden: H, kinds, topK: K } = shape
    for (const T of tokens)
      for (const routing of routings) {
        const placed = placeSlots(chooseIds(routing, T, kinds, K, 1), kinds)
        const bytes = (T + placed.routed) * H * bench.elementBytes
        const xs = await bench.rotating(bytes, () => bench.random([T, H]))
        const rows = bench.numbers(placed.rows, [T, K])
        yield {
          ...{ op: this.op, shape: `[T, ${H}]`, tokens: T, routing, bytes, flops: 0 },
          record: xs.map((x) => (plan) => ops.permute(plan, { x, rows })),
        }
        bench.release()
      }
  },
}

export const combine: KernelBench = {
  op: 'combine',

  async check(shape, bench) {
    const [T, H, K] = [20, shape.hidden, shape.topK]
    const kinds = shape.kinds.map((kind) => (kind === 'constant' ? 'zero' : kind))
    const ids = chooseIds('uniform', T, kinds, K, 1)
    const { rows } = placeSlots(ids, kinds)
    const [expertOut, x] = [
      randomArray([T * K, H], bench.dtype, 1),
      randomArray([T, H], bench.dtype, 2),
    ]
    const [residual, weights] = [randomArray([T, H], 'f32', 3), randomArray([T, K], 'f32', 4)]
    const { out } = await kernels.combine(
      {
        ...{ expertOut, rows: { data: rows, shape: [T, K] }, ids: { data: ids, shape: [T, K] } },
        ...{ weights, residual, kinds, x, scale: 1 },
      },
      { device: bench.name },
    )
    return firstDifference(bench, out, 8, (t, h) => {
      let value = at(residual, t * H + h)
      let size = Math.abs(value)
      for (let k = 0; k < K; k++) {
        const slot = t * K + k
        const row = rows[slot]!
        const copied = kinds[ids[slot]!] === 'copy' ? at(x, t * H + h) : 0
        const term = at(weights, slot) * (row >= 0 ? at(expertOut, row * H + h) : copied)
        value += term
        size += Math.abs(term)
      }
      return [value, size]
    })
  },

  async *make({ shape, tokens, routings }, bench) {
    const { hidden: H, kinds, topK: K } = shape
    const C = kinds.filter((kind) => kind === 'constant').length
    for (const T of tokens)
      for (const routing of routings) {
        const chosen = chooseIds(routing, T, kinds, K, 1)
        const placed = placeSlots(chosen, kinds)
        const bytes = placed.routed * H * bench.elementBytes + 2 * T * H * 4
        const outs = await bench.rotating(bytes, () => bench.random([T * K, H]))
        const x = await bench.random([T, H])
        const residual = await bench.random([T, H], 'f32')
        const weights = await bench.random([T, K], 'f32')
        const rows = bench.numbers(placed.rows, [T, K])
        const ids = bench.numbers(chosen, [T, K])
        const constants = C > 0 ? await bench.random([C, H], 'f32') : undefined
        const gates = C > 0 ? await bench.random([C, 2, H], 'f32') : undefined
        const inputs = { rows, ids, weights, residual, kinds, x, constants, gates }
        yield {
          ...{ op: this.op, shape: `[T, ${H}]`, tokens: T, routing, bytes, flops: 0 },
          record: outs.map((expertOut) => (plan) => ops.combine(plan, { expertOut, ...inputs })),
        }
        bench.release()
      }
  },
}
