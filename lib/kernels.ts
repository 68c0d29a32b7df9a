import { badOption } from './errors.ts'
import type { Activation, ActivationDType, Tensor } from './native.ts'
import { type ArrayTensor, type KernelOptions, OneOp } from './one_op.ts'
import * as ops from './ops/index.ts'

export { type ArrayTensor, arrayDType, type KernelOptions } from './one_op.ts'

/** Inputs of an op with its tensors as arrays. */
export type Arrays<T> = { [K in keyof T]: T[K] extends Tensor | undefined ? ArrayTensor : T[K] }

/**
 * Every op alone: a one-op plan on typed arrays, for learning, tests and microbenchmarks. Each takes its inputs and
 * `{ device, threads }`, and resolves to its outputs by name.
 *
 * @throws {MoeError} ERR_MOE_SHAPE, ERR_MOE_DTYPE, ERR_MOE_OPTION, before anything runs
 */
export const kernels = {
  /** Rows of a table, as f32: `out[t] = table[ids[t]]`. table [V, H], ids [T] i32. */
  async embedding(i: { table: ArrayTensor; ids: ArrayTensor }, options?: KernelOptions) {
    const op = new OneOp('embedding', options)
    const out = ops.embedding(
      op.plan,
      op.input('table', i.table),
      op.indices('ids', i.ids, i.table.shape[0] ?? 0),
    )
    return op.run({ out })
  },

  /** `out = x / sqrt(mean(x^2) + eps) * weight`. x [T, H] f32, weight [H] f32. */
  async rmsNorm(
    i: { x: ArrayTensor; weight: ArrayTensor; eps: number; dtype?: ActivationDType },
    options?: KernelOptions,
  ) {
    const op = new OneOp('rmsNorm', options)
    const out = ops.rmsNorm(
      op.plan,
      op.input('x', i.x),
      op.input('weight', i.weight),
      i.eps,
      i.dtype ?? 'f32',
    )
    return op.run({ out })
  },

  /**
   * `out = activation(x weight^T + bias) + residual`, sums in f32. x [T, K]; weight [N, K] row-major, packed first;
   * for `swiglu` gate rows, then up rows.
   */
  async linear(
    i: {
      x: ArrayTensor
      weight: ArrayTensor
      dtype?: ActivationDType
      bias?: ArrayTensor
      residual?: ArrayTensor
      activation?: Activation
    },
    options?: KernelOptions,
  ) {
    const op = new OneOp('linear', options)
    const { activation = 'none', dtype = 'f32' } = i
    const weight = await op.weight('weight', i.weight, activation === 'swiglu')
    const bias = op.optional('bias', i.bias)
    const residual = op.optional('residual', i.residual)
    const out = ops.linear(op.plan, op.input('x', i.x), weight, dtype, {
      activation,
      ...(bias && { bias }),
      ...(residual && { residual }),
    })
    return op.run({ out })
  },

  /**
   * RMSNorm and the projection that reads it: `normed`, and `out = normed weight^T`; one launch on a GPU for few tokens.
   * x [T, H] f32; weight [N, H] row-major, packed first. `exact` is `normed` as f32, if asked for.
   */
  async normLinear(
    i: {
      x: ArrayTensor
      normWeight: ArrayTensor
      eps: number
      weight: ArrayTensor
      dtype?: ActivationDType
      exact?: boolean
    },
    options?: KernelOptions,
  ) {
    const op = new OneOp('normLinear', options)
    const { eps, dtype = 'f32', exact = false } = i
    const weight = await op.weight('weight', i.weight)
    const input = {
      x: op.input('x', i.x),
      weight: op.input('normWeight', i.normWeight),
      eps,
      dtype,
    }
    const out = ops.normLinear(op.plan, input, weight, dtype, { exact })
    return op.run(out as Record<keyof typeof out, Tensor>)
  },

  /**
   * Rotary positions on q and k, and keys and values into the cache. Returns q and the caches as they are afterwards.
   * q [T, N D], k and v [T, G D], table [P, r] f32 (cosines, then sines), keys [blocks, G, D, 32], values [blocks, G, 32, D].
   */
  async ropeCache(
    i: Record<'q' | 'k' | 'v' | 'positions' | 'slots' | 'table' | 'keys' | 'values', ArrayTensor>,
    options?: KernelOptions,
  ) {
    const op = new OneOp('ropeCache', options)
    const t = (name: keyof typeof i) => op.input(name, i[name])
    const [q, keys, values] = [t('q'), t('keys'), t('values')]
    const at = {
      positions: op.indices('positions', i.positions, i.table.shape[0] ?? 0),
      slots: op.indices('slots', i.slots, (i.keys.shape[0] ?? 0) * ops.blockTokens),
      table: t('table'),
    }
    ops.ropeCache(op.plan, { q, k: t('k'), v: t('v') }, at, { keys, values })
    return op.run({ q, keys, values })
  },

  /**
   * Causal attention over a block-table cache, for any mix of prefill and decode. Token t sees positions starts[t] to
   * positions[t] of its sequence. q [T, N D], the cache as `ropeCache` writes it, blockTable [B, M] i32.
   */
  async attention(
    i: Record<
      'q' | 'keys' | 'values' | 'positions' | 'starts' | 'sequences' | 'blockTable',
      ArrayTensor
    > & {
      scale: number
    },
    options?: KernelOptions,
  ) {
    const op = new OneOp('attention', options)
    const starts = op.input('starts', i.starts)
    for (const [t, start] of i.starts.data.entries())
      if (start < 0 || start > (i.positions.data[t] ?? -1))
        badOption('attention', `starts[${t}]`, 'from 0 to the position', start)
    const cache = { keys: op.input('keys', i.keys), values: op.input('values', i.values) }
    const visible = { ...op.places(i, i.keys.shape[0] ?? 0), starts }
    const out = ops.attention(op.plan, op.input('q', i.q), cache, visible, i.scale)
    return op.run({ out })
  },

  /**
   * Each row beside the one before it of its sequence, for convolutions of two taps. x [T, C]; state [blocks, C] keeps the
   * last row of each block and is returned as it is afterwards.
   */
  async causalPair(
    i: Record<'x' | 'state' | 'positions' | 'slots' | 'sequences' | 'blockTable', ArrayTensor>,
    options?: KernelOptions,
  ) {
    const op = new OneOp('causalPair', options)
    const blocks = i.state.shape[0] ?? 0
    const at = {
      ...op.places(i, blocks),
      slots: op.indices('slots', i.slots, blocks * ops.blockTokens),
    }
    const state = op.input('state', i.state)
    return op.run({ out: ops.causalPair(op.plan, op.input('x', i.x), state, at), state })
  },

  /** Yuan's router: `logits_i = sum_j softmax_j(q_i k_j) v_j` for each token. qkv [T, 3E] f32. */
  async attentionRouter(i: { qkv: ArrayTensor }, options?: KernelOptions) {
    const op = new OneOp('attentionRouter', options)
    return op.run({ logits: ops.attentionRouter(op.plan, op.input('qkv', i.qkv)) })
  },

  /**
   * Fused top-k routing: ids and weights [T, K], best first; offsets [G + 1] and rows [T, K] of the slots when rows are
   * grouped by FFN expert, -1 for other experts. logits [T, E] f32. Equal logits go to the lower id; NaN counts as minus infinity.
   */
  async topK(i: { logits: ArrayTensor } & ops.TopKOptions, options?: KernelOptions) {
    const op = new OneOp('topK', options)
    return op.run({ ...ops.topK(op.plan, op.input('logits', i.logits), i) })
  },

  /**
   * RMSNorm, router projection and top-k routing in one: one launch on a GPU for few tokens. x [T, H] f32; weight [E, H],
   * or [3E, H] with `attention`; `weight` and `gateMap` [E, E] are row-major, packed first.
   */
  async route(
    i: {
      x: ArrayTensor
      normWeight: ArrayTensor
      eps: number
      dtype?: ActivationDType
      weight: ArrayTensor
      carried?: { previous: ArrayTensor; gateMap: ArrayTensor } | undefined
    } & Omit<ops.RouteOptions, 'carried'>,
    options?: KernelOptions,
  ) {
    const op = new OneOp('route', options)
    const { eps, dtype = 'f32' } = i
    const weight = await op.weight('weight', i.weight)
    const carried = i.carried && {
      previous: op.input('previous', i.carried.previous),
      gateMap: await op.weight('gateMap', i.carried.gateMap),
    }
    const input = {
      x: op.input('x', i.x),
      weight: op.input('normWeight', i.normWeight),
      eps,
      dtype,
    }
    return op.run(ops.route(op.plan, input, weight, { ...i, carried }))
  },

  /**
   * Token rows grouped by expert: `out[rows[t, k]] = scale * x[t]`. x [T, H], rows [T, K] i32 as `topK` gives them.
   */
  async permute(i: { x: ArrayTensor; rows: ArrayTensor; scale?: number }, options?: KernelOptions) {
    const op = new OneOp('permute', options)
    const rows = op.indices('rows', i.rows, i.rows.data.length, -1)
    return op.run({ out: ops.permute(op.plan, op.input('x', i.x), rows, i.scale) })
  },

  /**
   * One matrix product for each expert: rows offsets[e] to offsets[e + 1] of x [R, K] times weights[e] [N, K] row-major,
   * packed first; for `swiglu` gate rows, then up rows. With `rows` [T, k], x [T, K] is permuted first, as `permute` does.
   */
  async groupedGemm(
    i: {
      x: ArrayTensor
      offsets: ArrayTensor
      weights: ArrayTensor[]
      dtype?: ActivationDType
      activation?: Activation
      rows?: ArrayTensor
      scale?: number
    },
    options?: KernelOptions,
  ) {
    const op = new OneOp('groupedGemm', options)
    const { activation = 'none', dtype = 'f32' } = i
    const gateUp = activation === 'swiglu'
    const weights = await Promise.all(
      i.weights.map((w, e) => op.weight(`weights[${e}]`, w, gateUp)),
    )
    const count = i.rows?.data.length ?? i.x.shape[0] ?? 0
    const [x, offsets] = [op.input('x', i.x), op.offsets('offsets', i.offsets, count)]
    const rows = i.rows && op.indices('rows', i.rows, count, -1)
    const grouped = { activation, ...(rows && { rows, scale: i.scale ?? 1 }) }
    return op.run({ out: ops.groupedGemm(op.plan, x, offsets, weights, dtype, grouped) })
  },

  /**
   * Expert outputs back in token order, weighted, on top of the residual; copy, zero and constant experts are scalars here.
   */
  async combine(i: Arrays<ops.CombineInputs>, options?: KernelOptions) {
    const op = new OneOp('combine', options)
    const [x, constants, gates] = [
      op.optional('x', i.x),
      op.optional('constants', i.constants),
      op.optional('gates', i.gates),
    ]
    const out = ops.combine(op.plan, {
      expertOut: op.input('expertOut', i.expertOut),
      rows: op.indices('rows', i.rows, i.expertOut.shape[0] ?? 0, -1),
      ids: op.indices('ids', i.ids, i.kinds.length),
      weights: op.input('weights', i.weights),
      residual: op.input('residual', i.residual),
      kinds: i.kinds,
      scale: i.scale ?? 1,
      ...(x && { x }),
      ...(constants && { constants }),
      ...(gates && { gates }),
    })
    return op.run({ out })
  },

  /** `out[i] = x[rows[i]]`, f32. x [T, H], rows [R] i32. */
  async gatherRows(i: { x: ArrayTensor; rows: ArrayTensor }, options?: KernelOptions) {
    const op = new OneOp('gatherRows', options)
    return op.run({
      out: ops.gatherRows(
        op.plan,
        op.input('x', i.x),
        op.indices('rows', i.rows, i.x.shape[0] ?? 0),
      ),
    })
  },

  /**
   * One token for each row of logits [S, V]: penalties, temperature, top-k, top-p, min-p, and a draw that depends on seed and
   * step only; log probabilities are of the unmodified softmax.
   */
  async sample(
    i: { logits: ArrayTensor; vocabulary: number; top?: number } & Arrays<ops.SampleInputs>,
    options?: KernelOptions,
  ) {
    const op = new OneOp('sample', options)
    const inputs = {
      options: op.input('options', i.options),
      counts: op.input('counts', i.counts),
      history: op.indices('history', i.history, i.logits.shape[1] ?? 0),
      historyOffsets: op.offsets('historyOffsets', i.historyOffsets, i.history.data.length),
    }
    const out = ops.sample(op.plan, op.input('logits', i.logits), inputs, i.vocabulary, i.top ?? 0)
    return op.run(out as Record<keyof typeof out, Tensor>)
  },
}
