import { MoeError } from '../errors.ts'
import {
  type DType,
  type Gpu,
  native,
  type Tensor,
  type Weight,
  type WeightFormat,
} from '../native.ts'
import * as ops from '../ops/index.ts'
import {
  type FormatRule,
  formatRule,
  type Part,
  type WeightsChoice,
  type WeightsInfo,
} from './formats.ts'
import { type RopeSpec, ropeAngles } from './rope.ts'

/** `count` rows from `start` on of a checkpoint tensor of `shape`; its last dimensions are one row. */
export interface Rows {
  name: string
  shape: number[]
  /** For a tensor that holds several matrices: which one of them. */
  slab?: number
  start: number
  count: number
  /** From one row to the next; default 1. */
  step?: number
  /** The file has the matrix as [K, N]: its columns are the rows meant here. */
  transposed?: boolean
  /** Dimensions of `shape` that are K, where transposed; default 1. */
  inner?: number
  /** The rows are alone, and the matrix meant is their transpose. */
  turned?: boolean
  /** Rows and width that they are filled up to with zeros. */
  padded?: [rows: number, width: number]
}

/** All rows of a tensor. */
export const rowsOf = (name: string, shape: number[]): Rows => ({
  name,
  shape,
  start: 0,
  count: shape[0]!,
})

/**
 * Rows of a file that rotates neighbours, as kernels rotate them: a value and the one half of `count` on. The even ones
 * come first.
 */
export const evenFirst = (name: string, shape: number[], start: number, count: number): Rows[] =>
  [0, 1].map((odd) => ({ name, shape, start: start + odd, count: count / 2, step: 2 }))

/** All rows of one matrix of a tensor [matrices, rows, ...row]. */
export const slabOf = (name: string, shape: number[], slab: number): Rows => ({
  name,
  shape,
  slab,
  start: 0,
  count: shape[1]!,
})

/** A matrix that a file has as [K, N]: all of its N columns, or those of one slab. */
export function columnsOf(
  name: string,
  shape: number[],
  part: { slab?: number; inner?: number } = {},
): Rows {
  const all = { name, shape, start: 0, transposed: true, ...part }
  return { ...all, count: sourceShape({ ...all, count: 0 })[0] }
}

/** Shape of the matrix that rows are taken from, with everything behind its rows as one width. */
export function sourceShape({
  shape,
  slab,
  transposed,
  inner = 1,
}: Rows): [rows: number, width: number] {
  const own = slab === undefined ? shape : shape.slice(1)
  if (transposed) return [count(own.slice(inner)), count(own.slice(0, inner))]
  return [own[0] ?? 1, count(own.slice(1))]
}

/**
 * How a tensor counts in `model.parameters`: a token uses a few of the FFN experts and one row of the
 * embedding table; `none` was counted already.
 */
export type Share = 'dense' | 'expert' | 'embedding' | 'none'

/**
 * What an architecture asks for while it is built. Asking checks name, shape and dtype at once and returns
 * a handle; the bytes come when everything has been asked for and `load` runs.
 */
export interface Weights {
  /** Whether there is a tensor of that name, where files differ in their names. */
  has(name: string): boolean
  /** A vector or small matrix, widened to f32 and multiplied by `scale`. */
  vector(name: string, shape: number[], scale?: number): Tensor
  /** Tensors of one shape, widened to f32 and stacked: [names, ...shape]. */
  stack(names: string[], shape: number[]): Tensor
  /** Two vectors, multiplied value by value in f32. */
  product(names: readonly [string, string], size: number): Tensor
  /** Rows one behind the other, widened to f32, as a tensor of `shape`: biases in the order of a matrix's rows. */
  gathered(rows: Rows[], shape: number[], share?: Share): Tensor
  /** Rows of a matrix [R, C] in any order, as columns, widened to f32: [C, order.length]. */
  transposed(name: string, shape: [R: number, C: number], order: readonly number[]): Tensor
  /** A matrix [sum of counts, K] for GEMMs; the runs follow each other. */
  matrix(rows: Rows[], options?: MatrixOptions): Weight
  /** Several that are read from the same tensors, in one go. */
  matrices(each: Rows[][], options?: MatrixOptions): Weight[]
  /** An embedding table; on the CPU it is left in the file. */
  table(name: string, shape: number[], share?: Share): Tensor
  /** A rotary table [positions, rotaryDim] f32, cosines then sines. How many positions is said before it is filled. */
  ropeTable(rotaryDim: number, rope: RopeSpec, options?: RopeOptions): Tensor
  /** A table that the architecture computes. */
  constant(values: Float32Array, shape: number[]): Tensor
  /** Names that may be there and are not needed. */
  ignore(pattern: RegExp): void
}

export interface MatrixOptions {
  /** For SwiGLU: gate rows, then as many up rows. */
  gateUp?: boolean
  share?: Share
  /** What it is for. Default `experts` for the share `expert`, else `dense`. */
  part?: Part
}

/** How the table of rotary positions is rounded: as the published code does, or only its frequencies, or not at all. */
export type RopeRounding = 'published' | 'bf16-frequencies' | 'exact'
export interface RopeOptions {
  /** Default `exact`. */
  rounding?: RopeRounding
}

const usualPositions = 4096

/** Handles for what is asked, and the tally that is the same wherever the bytes come from. */
export abstract class WeightList implements Weights {
  /** Everything that was handed out, to be freed with the model. */
  readonly tensors: (Tensor | Weight)[] = []
  readonly parameters: Record<Share, number> = { dense: 0, expert: 0, embedding: 0, none: 0 }
  /** Bytes in memory once loaded, without what stays in the file. */
  bytes = 0
  #positions = usualPositions
  readonly #tables = new Map<string, Tensor>()
  readonly #experts: Weight[] = []
  readonly #tally = new Map<string, WeightsInfo>()
  readonly #format: FormatRule
  protected readonly gpu: Gpu | undefined

  /**
   * @param gpu where the weights go; undefined: host memory
   * @param weights how matrices are stored
   */
  constructor(gpu?: Gpu, weights: WeightsChoice | FormatRule = 'auto') {
    this.#format = typeof weights === 'string' ? formatRule(weights) : weights
    this.gpu = gpu
  }

  /** What has been handed out, by what it is for and how it is stored. */
  get info(): WeightsInfo[] {
    return [...this.#tally.values()].filter(({ bytes }) => bytes > 0)
  }

  /** How many positions rotary tables have; to be set before they are filled. */
  get positions(): number {
    return this.#positions
  }

  set positions(positions: number) {
    this.#positions = positions
    for (const table of this.#tables.values()) {
      const before = table.bytes
      table.setRows(positions)
      this.bytes += table.bytes - before
      this.count('other', 'f32', table.bytes - before)
    }
  }

  /** What experts' matrices take. */
  get expertBytes(): number {
    return this.#experts.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /**
   * Leaves experts in host memory, before anything is filled. Their matrices go to the GPU in the order in which they
   * were asked for, layer by layer, until one does not fit `bytes`.
   *
   * @returns bytes in host memory
   */
  limitExperts(bytes: number): number {
    let left = bytes
    let pinned = 0
    for (const weight of this.#experts) {
      left -= weight.bytes
      if (left >= 0) continue
      weight.pin()
      this.count('experts', weight.format, -weight.bytes)
      this.count('experts', weight.format, weight.bytes, 'host')
      pinned += weight.bytes
    }
    return pinned
  }

  /** Without a file every name is the architecture's own. */
  has(_name: string): boolean {
    return false
  }

  abstract ignore(pattern: RegExp): void
  abstract table(name: string, shape: number[], share?: Share): Tensor
  protected abstract loadVectors(rows: Rows[], out: Tensor, scale: number): void
  protected abstract loadMatrix(rows: Rows[], out: Weight): void
  /** Matrices of the same tensors. */
  protected loadMatrices(each: { rows: Rows[]; out: Weight }[]): void {
    for (const { rows, out } of each) this.loadMatrix(rows, out)
  }
  /** The format that a matrix has when none is asked for. */
  protected abstract matrixFormat(rows: Rows[], part: Part): WeightFormat
  protected abstract later(work: () => Promise<void>): void

  vector(name: string, shape: number[], scale = 1): Tensor {
    return this.#widened([rowsOf(name, shape)], shape, scale)
  }

  stack(names: string[], shape: number[]): Tensor {
    return this.gathered(
      names.map((name) => rowsOf(name, shape)),
      [names.length, ...shape],
    )
  }

  gathered(rows: Rows[], shape: number[], share: Share = 'dense'): Tensor {
    return this.#widened(rows, shape, 1, share)
  }

  #widened(rows: Rows[], shape: number[], scale: number, share: Share = 'dense'): Tensor {
    const out = this.rows(shape, 'f32')
    this.parameters[share] += count(shape)
    this.loadVectors(rows, out, scale)
    return out
  }

  product(names: readonly [string, string], size: number): Tensor {
    const out = this.rows([size], 'f32')
    this.parameters.dense += 2 * size
    const { tensor, tensorFrom, Plan, Arena, pack, copyToF32 } = native()
    const [x, rowScale] = names.map((name) => {
      const column = tensor([size, 1], 'f32')
      this.loadVectors([rowsOf(name, [size])], column, 1)
      return column
    }) as [Tensor, Tensor]
    this.later(async () => {
      const weight = new (native().Weight)([1, 1], 'f32', false)
      await pack(weight, [[tensorFrom(Float32Array.of(1), [1, 1], 'f32'), 0, 1]])
      const plan = new Plan(new Arena())
      plan.output('out', ops.linear(plan, { x, weight, rowScale }).out)
      const { out: values } = await plan.run({}, 1)
      await copyToF32(out, [[tensorFrom(values!, [size], 'f32'), 0, 1]], 1)
      for (const handle of [x, rowScale, weight]) handle.release()
    })
    return out
  }

  transposed(name: string, [R, C]: [R: number, C: number], order: readonly number[]): Tensor {
    const out = this.rows([C, order.length], 'f32')
    this.parameters.dense += R * C
    const { tensor, transpose, copy } = native()
    const picked = tensor([order.length, C], 'f32')
    const one = (start: number): Rows => ({ name, shape: [R, C], start, count: 1 })
    this.loadVectors(order.map(one), picked, 1)
    this.later(async () => {
      const turned = this.gpu ? tensor([C, order.length], 'f32') : out
      await transpose(picked, turned)
      picked.release()
      if (turned === out) return
      await copy(out, turned)
      turned.release()
    })
    return out
  }

  matrix(rows: Rows[], options?: MatrixOptions): Weight {
    return this.matrices([rows], options)[0]!
  }

  matrices(each: Rows[][], options: MatrixOptions = {}): Weight[] {
    const { gateUp = false, share = 'dense' } = options
    const { part = share === 'expert' ? 'experts' : 'dense' } = options
    const all = each.map((rows) => {
      const [N, K] = matrixShape(rows)
      this.parameters[share] += rows.reduce((n, run) => n + run.count * sourceShape(run)[1], 0)
      const out = this.own(this.makeWeight(rows, [N, K], part, gateUp))
      this.count(part, out.format, out.bytes)
      if (share === 'expert') this.#experts.push(out)
      return { rows, out }
    })
    this.loadMatrices(all)
    return all.map(({ out }) => out)
  }

  protected makeWeight(
    rows: Rows[],
    shape: [N: number, K: number],
    part: Part,
    gateUp: boolean,
  ): Weight {
    const stored = this.matrixFormat(rows, part)
    const format = this.#format({ part, stored, K: shape[1] })
    return new (native().Weight)(shape, format, gateUp, this.gpu)
  }

  ropeTable(rotaryDim: number, rope: RopeSpec, { rounding = 'exact' }: RopeOptions = {}): Tensor {
    // Every layer asks for the same table.
    const key = JSON.stringify([rotaryDim, rope, rounding])
    const known = this.#tables.get(key)
    if (known) return known
    const { frequencies, positionScale, factor } = ropeAngles(rope, rotaryDim)
    const out = this.rows([this.#positions, rotaryDim], 'f32')
    this.later(() => native().ropeTable(out, frequencies, positionScale, factor, rounding))
    this.#tables.set(key, out)
    return out
  }

  constant(values: Float32Array, shape: number[]): Tensor {
    const out = this.rows(shape, 'f32')
    const source = native().tensorFrom(values, shape, 'f32')
    this.later(() => native().copyToF32(out, [[source, 0, shape.length > 1 ? shape[0]! : 1]], 1))
    return out
  }

  /** Counts what takes memory beside what is asked for here. */
  beside(bytes: number): void {
    this.bytes += bytes
    this.count('other', 'f32', bytes)
  }

  /** A row-major tensor where the weights go. */
  protected rows(shape: number[], dtype: DType, part: WeightsInfo['part'] = 'other'): Tensor {
    const out = this.own(native().tensor(shape, dtype, this.gpu, true))
    this.count(part, dtype, out.bytes)
    return out
  }

  protected count(
    part: WeightsInfo['part'],
    format: string,
    bytes: number,
    memory: WeightsInfo['memory'] = this.gpu ? 'gpu' : 'host',
  ): void {
    const key = `${part} ${format} ${memory}`
    const counted = this.#tally.get(key)?.bytes ?? 0
    this.#tally.set(key, { part, format, bytes: counted + bytes, memory })
  }

  protected own<T extends Tensor | Weight>(handle: T): T {
    this.tensors.push(handle)
    this.bytes += handle.bytes
    return handle
  }

  /** Frees everything that was handed out. */
  release(): void {
    for (const tensor of this.tensors) tensor.release()
  }
}

export const count = (shape: number[]): number => shape.reduce((n, dim) => n * dim, 1)

function matrixShape(rows: Rows[]): [N: number, K: number] {
  const [first] = rows
  if (first?.turned) return [sourceShape(first)[1], first.count]
  const widths = rows.map((run) => run.padded?.[1] ?? sourceShape(run)[1])
  if (new Set(widths).size !== 1)
    throw new MoeError(
      'ERR_MOE_SHAPE',
      `matrix: rows must have one width, got ${widths.join(', ')}`,
    )
  return [rows.reduce((n, run) => n + (run.padded?.[0] ?? run.count), 0), widths[0]!]
}
