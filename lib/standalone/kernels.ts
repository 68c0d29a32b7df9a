import { badOption, badShape } from '../errors.ts'
import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { type ArrayTensor, isArrayTensor, type KernelOptions, OneOp } from './one_op.ts'

export { type ArrayTensor, arrayDType, type KernelOptions } from './one_op.ts'

/** An op's tensor or weight as an array. */
export type AsArray<T> = T extends Tensor | Weight
  ? ArrayTensor
  : T extends readonly (Tensor | Weight)[]
    ? ArrayTensor[]
    : T
/** Inputs or outputs of an op with its tensors as arrays; weights are row-major. */
export type Arrays<T> = { [K in keyof T]: AsArray<T[K]> }

type Fields = { [name: string]: unknown }

/** What is known of an op beside its fields. */
interface Rules<Inputs> {
  /** Checks values that kernels trust. */
  check?(op: OneOp, inputs: Inputs): void
  /** Tensors that are written in place, returned as they are afterwards. */
  updated?: readonly string[]
}

/** Tensors of the op's fields; those called `packed` become weights. */
async function tensorsOf(op: OneOp, given: Fields, packed: readonly string[]): Promise<Fields> {
  // GLU variants, which take gate_up weights, are the activations with GLU in their names.
  const { activation } = given
  const gateUp = typeof activation === 'string' && /glu/i.test(activation)
  const fields: Fields = {}
  for (const [name, value] of Object.entries(given)) {
    const tensor = (label: string, one: unknown) => {
      if (!isArrayTensor(one)) return one
      return packed.includes(name) ? op.weight(label, one, gateUp) : op.tensor(one)
    }
    fields[name] = await (Array.isArray(value)
      ? Promise.all(value.map((one, i) => tensor(`${name}[${i}]`, one)))
      : tensor(name, value))
  }
  return fields
}

/** An op as a function on arrays. */
function alone<Inputs, Outputs, Given = Arrays<Inputs>>(
  record: (plan: Plan, inputs: Inputs) => Outputs,
  { check, updated = [] }: Rules<Given> = {},
): (inputs: Given, options?: KernelOptions) => Promise<Arrays<Outputs>> {
  return async (inputs, options) => {
    if (typeof inputs !== 'object' || inputs === null)
      badOption(record.name, 'inputs', 'an object of tensors and numbers', inputs)
    const op = new OneOp(record.name, options)
    const given = op.snapshot(inputs)
    const fields = await tensorsOf(op, given, ops.weightFields[record.name] ?? [])
    op.output(record(op.plan, fields as Inputs) ?? {}) // checks fields and shapes
    check?.(op, given as Given)
    const there = updated.filter((name) => fields[name] !== undefined)
    op.output(Object.fromEntries(there.map((name) => [name, fields[name]])))
    return (await op.run()) as Arrays<Outputs>
  }
}

type At = { [K in 'positions' | 'sequences' | 'blockTable']: ArrayTensor }

/** Where tokens stand: positions inside the block table's rows, and its blocks inside the cache. */
function checkPlaces(op: OneOp, { positions, sequences, blockTable }: At, blocks = 0): void {
  const [count = 0, perSequence = 0] = blockTable.shape
  op.indices('positions', positions, perSequence * ops.blockTokens)
  op.indices('sequences', sequences, count)
  op.indices('blockTable', blockTable, blocks)
}

interface Ends {
  /** [T] i32 */
  positions: ArrayTensor
  /** [T] i32, the last position that each token sees; default its own. */
  ends?: ArrayTensor | undefined
}

/** Inputs of `ops.attention`. */
export interface AttentionArrays
  extends Omit<Arrays<ops.AttentionInputs>, 'ends' | 'positions'>,
    Ends {}

/** Inputs of `ops.latentAttention`. */
export interface LatentAttentionArrays
  extends Omit<Arrays<ops.LatentAttentionInputs>, 'ends'>,
    Ends {}

type Places = Record<'q' | 'starts' | 'ends' | 'sequences' | 'blockTable', Tensor>

/** Attention over a cache whose blocks `cacheOf` knows. */
function attentionAlone<Inputs extends Places, Outputs, Given>(
  record: (plan: Plan, inputs: Inputs) => Outputs,
  cacheOf: (inputs: Arrays<Inputs>) => ArrayTensor,
) {
  const named = {
    [record.name](plan: Plan, { positions, ...inputs }: Inputs & { positions?: Tensor }) {
      const [T] = inputs.q?.shape ?? []
      if (positions?.shape && positions.shape[0] !== T)
        badShape(record.name, 'positions', [T ?? 0], positions.shape)
      const own = 'bias' in inputs && { positions }
      return record(plan, {
        ...inputs,
        ...own,
        ends: inputs.ends ?? positions!,
      } as unknown as Inputs)
    },
  }
  return alone<Inputs, Outputs, Given>(named[record.name]!, {
    check(op, given) {
      const i = given as Arrays<Places> & Ends
      const { ends = i.positions } = i
      checkPlaces(op, i, cacheOf(given as unknown as Arrays<Inputs>).shape[0])
      op.indices('ends', ends, (i.blockTable.shape[1] ?? 0) * ops.blockTokens)
      for (const [t, start] of i.starts.data.entries())
        if (start < 0 || start > (ends.data[t] ?? -1))
          badOption(record.name, `starts[${t}]`, 'from 0 to the last visible position', start)
    },
  })
}

/** Inputs of `ops.groupedGemm`. */
export interface GroupedGemmArrays extends Arrays<ops.GroupedGemmInputs> {
  /** [T, k] i32 as `topK` gives them: x [T, K] is in token order and permuted first. */
  rows?: ArrayTensor | undefined
  /** Factor of x, with `rows`. */
  scale?: number | undefined
}

/** An op that takes and gives arrays. */
export type Alone<Op> = Op extends (plan: Plan, inputs: infer Inputs) => infer Outputs
  ? (inputs: Arrays<Inputs>, options?: KernelOptions) => Promise<Arrays<Outputs>>
  : never
type Ops = Omit<typeof ops.all, 'probe'> // which is of the benchmarks

/** Ops of which nothing more is known than their fields. */
const plain = Object.fromEntries(
  Object.values(ops.all)
    .filter((record) => record !== ops.probe)
    .map((record) => [record.name, alone(record as never)]),
) as unknown as { [K in keyof Ops]: Alone<Ops[K]> }

/**
 * Every op alone: a plan of one op on typed arrays, for learning, tests and microbenchmarks. Each takes its fields by name
 * and `{ device, threads }`, and resolves to its outputs by name.
 *
 * @throws {MoeError} ERR_MOE_SHAPE, ERR_MOE_DTYPE, ERR_MOE_OPTION, before anything runs
 */
export const kernels = {
  ...plain,

  /** Rows of a table, as f32: `out[t] = scale * table[ids[t]]`. */
  embedding: alone(ops.embedding, {
    check: (op, i) => op.indices('ids', i.ids, i.table.shape[0] ?? 0),
  }),

  /** Values into the range from -limit to limit. Returns x. */
  clamp: alone<ops.ClampInputs, Pick<ops.ClampInputs, 'x'>>(ops.clamp as never, {
    updated: ['x'],
  }),

  /** Rotary positions on q and k, and keys and values into the cache. Returns q and the caches. */
  ropeCache: alone<ops.RopeCacheInputs, Pick<ops.RopeCacheInputs, 'q' | 'keys' | 'values'>>(
    ops.ropeCache as never,
    {
      check(op, i) {
        if (i.table && i.positions) op.indices('positions', i.positions, i.table.shape[0] ?? 0)
        op.indices('slots', i.slots, (i.keys.shape[0] ?? 0) * ops.blockTokens)
      },
      updated: ['q', 'keys', 'values'],
    },
  ),

  /** Attention over a block-table cache: token t sees positions starts[t] to ends[t] of its sequence. */
  attention: attentionAlone<ops.AttentionInputs, ops.AttentionOutputs, AttentionArrays>(
    ops.attention,
    ({ keys }) => keys,
  ),

  /** What latent attention keeps of each token, into the cache, and rotary positions on q. Returns q and the cache. */
  latentCache: alone<ops.LatentCacheInputs, Pick<ops.LatentCacheInputs, 'q' | 'cache'>>(
    ops.latentCache as never,
    {
      check(op, i) {
        op.indices('positions', i.positions, i.table.shape[0] ?? 0)
        op.indices('slots', i.slots, (i.cache.shape[0] ?? 0) * ops.blockTokens)
      },
      updated: ['q', 'cache'],
    },
  ),

  /** Attention of all heads to the rows that `latentCache` keeps. */
  latentAttention: attentionAlone<
    ops.LatentAttentionInputs,
    ops.LatentAttentionOutputs,
    LatentAttentionArrays
  >(ops.latentAttention, ({ cache }) => cache),

  /** Each row beside the one before it of its sequence, for convolutions of two taps. Returns the state, too. */
  causalPair: alone<ops.CausalPairInputs, ops.CausalPairOutputs & { state: Tensor }>(
    ops.causalPair as never,
    {
      check(op, i) {
        const blocks = i.state.shape[0] ?? 0
        checkPlaces(op, i, blocks)
        op.indices('slots', i.slots, blocks * ops.blockTokens)
      },
      updated: ['state'],
    },
  ),

  /** The best experts of each token, their weights, and the rows that they are grouped in. Returns counts, if given. */
  topK: alone<ops.TopKInputs, ops.TopKOutputs & { counts?: Tensor }>(ops.topK, {
    check(op, i) {
      if (i.adjustOf) op.indices('adjustOf', i.adjustOf, i.adjust?.shape[0] ?? 0, -1)
    },
    updated: ['counts'],
  }),

  /** The choices of `topK` where an expert takes only so many tokens of a segment; the others get row -1. */
  limitCapacity: alone(ops.limitCapacity, {
    check(op, i) {
      op.indices('ids', i.ids, i.experts)
      op.segments(i.segments, i.ids.shape[0])
    },
  }),

  /** The tokens of each segment that each expert chooses. */
  expertChoice: alone(ops.expertChoice, {
    check: (op, i) => op.segments(i.segments, i.logits.shape[0]),
  }),

  /** The mean of each segment's rows. */
  segmentMean: alone(ops.segmentMean, {
    check: (op, i) => op.segments(i.segments, i.x.shape[0]),
  }),

  /** The two softmaxes of Soft MoE. */
  softWeights: alone(ops.softWeights, {
    check: (op, i) => op.segments(i.segments, i.logits.shape[0]),
  }),

  /** The rows that Soft MoE's experts see: mixes of all tokens of a segment. */
  softDispatch: alone(ops.softDispatch, {
    check: (op, i) => op.segments(i.segments, i.x.shape[0]),
  }),

  /** What Soft MoE's experts return, mixed for each token, on top of the residual. */
  softCombine: alone(ops.softCombine, {
    check: (op, i) => op.segments(i.segments, i.residual.shape[0]),
  }),

  /** Token rows grouped by expert: `out[rows[t, k]] = scale * x[t]`. */
  permute: alone(ops.permute, {
    check: (op, i) => op.indices('rows', i.rows, i.rows.data.length, -1),
  }),

  /** One matrix product for each expert: rows offsets[e] to offsets[e + 1] of x times weights[e]. */
  groupedGemm: alone<ops.GroupedGemmInputs, ops.GroupedGemmOutputs, GroupedGemmArrays>(
    function groupedGemm(
      plan,
      { rows, scale, ...inputs }: ops.GroupedGemmInputs & { rows?: Tensor; scale?: number },
    ) {
      const x = rows ? ops.permute(plan, { x: inputs.x, rows, scale }).out : inputs.x
      return ops.groupedGemm(plan, { ...inputs, x })
    },
    {
      check(op, i) {
        const count = i.rows?.data.length ?? i.x.shape[0] ?? 0
        op.offsets('offsets', i.offsets, count)
        if (i.rows) op.indices('rows', i.rows, count, -1)
      },
    },
  ),

  /** Expert outputs back in token order, weighted, on top of the residual; copy, zero and constant experts are scalars. */
  combine: alone(ops.combine, {
    check(op, i) {
      op.indices('rows', i.rows, i.expertOut.shape[0] ?? 0, -1)
      op.indices('ids', i.ids, i.kinds.length)
    },
  }),

  /** What low-rank experts add beside a projection: of each token, those of its ids. */
  lora: alone(ops.lora, {
    check(op, i) {
      const parts = Math.max(1, i.columns?.length ?? 1)
      op.indices('ids', i.ids, i.pairs.length / parts, -1)
    },
  }),

  /** `out[i] = x[rows[i]]`. */
  gatherRows: alone(ops.gatherRows, {
    check: (op, i) => op.indices('rows', i.rows, i.x.shape[0] ?? 0),
  }),

  /** One token for each row of logits: biases, masks, penalties, temperature, top-k, top-p, min-p, and a draw by seed and step. */
  sample: alone(ops.sample, {
    check(op, i) {
      op.indices('history', i.history, i.logits.shape[1] ?? 0)
      op.offsets('historyOffsets', i.historyOffsets, i.history.data.length)
      if (i.maskRows) op.indices('maskRows', i.maskRows, i.masks?.shape[0] ?? 0, -1)
      if (i.biasIds) op.indices('biasIds', i.biasIds, i.logits.shape[1] ?? 0)
      if (i.biasIds && i.biasOffsets)
        op.offsets('biasOffsets', i.biasOffsets, i.biasIds.data.length)
      const { data: counts } = i.counts
      const column = ops.sampleCountNames.indexOf('promptLength')
      for (const [row, offset] of i.historyOffsets.data.subarray(1).entries()) {
        const length = offset - i.historyOffsets.data[row]!
        const at = row * ops.sampleCountNames.length + column
        if (!(counts[at]! >= 0 && counts[at]! <= length))
          badOption('sample', `counts[${at}]`, `a prompt length from 0 to ${length}`, counts[at])
      }
    },
  }),
}
