import { createRequire } from 'node:module'
import path from 'node:path'
import { MoeError } from './errors.ts'
import { loadAdvice } from './load_failure.ts'
import { checkNode } from './node_version.ts'
import { packageFolder } from './package_folder.ts'

/** Element type of a tensor. */
export type DType = 'f32' | 'bf16' | 'f16' | 'i32' | 'u8'
/** Element type of activations. */
export type ActivationDType = 'f32' | 'bf16'
/** How the values of a weight are stored; `g32` and `g128`: so many inputs share a scale. */
export type WeightFormat =
  | 'f32'
  | 'bf16'
  | 'int8'
  | 'int8g128'
  | 'int4g32'
  | 'int4g128'
  | 'int4g32z'
  | 'int4g128z'
  | 'mxfp4'
  | 'fp8'
  | 'fp8g128'
/** Typed arrays that tensors are made of: f32, i32, bf16 as its bits, u8. */
export type NumberArray = Float32Array | Int32Array | Uint16Array | Uint8Array

/** Handle of native memory. Arithmetic happens in ops only. */
export interface Tensor {
  readonly shape: number[]
  readonly dtype: DType
  readonly bytes: number
  /** View of `count` columns of a [rows, columns] tensor. */
  columns(start: number, count: number): Tensor
  /** View of a list's elements from `start` on, as another shape and a dtype of the same size. */
  view(start: number, shape: number[], dtype: DType): Tensor
  /** Of a matrix that has no memory yet. */
  setRows(count: number): void
  /** Frees the memory now, under all views. */
  release(): void
}

/** A matrix [N, K] that GEMMs multiply with, packed for its device. It gets its memory when it is filled. */
export interface Weight {
  readonly shape: number[]
  readonly format: WeightFormat
  /** What it takes in memory. */
  readonly bytes: number
  /** A copy of packed bytes, of a weight on the host that has been filled. */
  read(offset: number, length: number): Uint8Array
  /** Instead of filling it: the packed bytes are those of the file from `offset` on, a multiple of 64. */
  map(file: MappedFile, offset: number): void
  /** Before it is filled: host memory that the GPU's kernels read, instead of the GPU's. */
  pin(): void
  /** Frees the memory now. */
  release(): void
}

/** What all matrices [N, K] share that a file has by other means than their values. */
interface Encoded {
  shape: readonly number[]
  values: Tensor
  scales: Tensor
  /** For errors. */
  name: string
}

/** csrc/weights/integer_matrix.h */
export interface IntegerMatrix extends Encoded {
  layout: 'gptq' | 'awq' | 'packed' | 'bytes'
  bits: 4 | 8
  /** Of k; 0: a row. */
  group: number
  zeros?: Tensor | undefined
  order?: Tensor | undefined
  /** Zeros are stored less one. */
  zeroShift: boolean
}

/** csrc/weights/mxfp4_matrix.h */
export interface Mxfp4Matrix extends Encoded {
  layout: 'mxfp4'
}

/** csrc/weights/fp8_matrix.h */
export interface Fp8Matrix extends Encoded {
  layout: 'fp8'
  /** Rows and columns that share a scale. */
  block: readonly [rows: number, columns: number]
}

export type EncodedMatrix = IntegerMatrix | Mxfp4Matrix | Fp8Matrix

export interface CancelToken {
  cancel(): void
}

export interface Arena {
  release(): void
}

/** An opened GPU; where one is asked for, `undefined` means the CPU. */
export interface Gpu {
  /** Bytes that can still be allocated. */
  freeMemory(): number
}

export interface GpuInfo {
  name: string
  memoryBytes: number
  /** Compute capability, such as 9. */
  capability: number
  /** Newest CUDA version of the driver, and the one the backend was built with. */
  driver: number
  runtime: number
}

export interface MappedFile {
  readonly bytes: number
  read(offset: number, length: number): Uint8Array
  tensor(offset: number, shape: number[], dtype: DType): Tensor
}

export interface PlanTime {
  ops: string[]
  seconds: Float64Array
  launches: number
}

/** A recorded forward pass. */
export interface Plan {
  /** A tensor that each run is given under this name, up to its number of elements. */
  input(name: string, shape: number[], dtype: DType): Tensor
  /** Each run resolves to a copy of `tensor` under this name. */
  output(name: string, tensor: Tensor): void
  /**
   * Checks and appends an op and returns its outputs by name. `lib/ops` has a typed function for each.
   *
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_SHAPE, ERR_MOE_DTYPE, ERR_MOE_DEVICE, ERR_MOE_UNSUPPORTED
   */
  record(op: string, fields: object): unknown
  /**
   * Copies inputs in, runs off this thread, and resolves to a copy of each output. Runs follow each other in the
   * order of the calls. An input may come from a tensor, such as an output of the run before.
   */
  run(
    inputs: { [name: string]: NumberArray | Tensor },
    threads: number,
    cancel?: CancelToken,
  ): Promise<{ [name: string]: NumberArray }>

  /**
   * Runs on whatever is in memory and times every op: seconds [iterations, ops]. `launches` are the kernels of a
   * run on a GPU, once it has been captured; 0 on the CPU.
   */
  time(iterations: number, threads: number): Promise<PlanTime>
  /** Seconds of each whole run: [iterations]. On a GPU, of the captured graph. */
  timeRuns(iterations: number, threads: number): Promise<Float64Array>
}

export interface PlanOptions {
  /** Put ops together on a GPU, which gives the same bits; default true. */
  fuse?: boolean
  /** On a GPU, one path for any number of rows; default false. */
  deterministic?: boolean
}

/**
 * `count` rows of a [*, K] tensor: `start`, `start + step`, …; `turned`: their transpose, all of a weight. `zeros`: so
 * many rows of zeros follow, and rows may be narrower than the weight's.
 */
export type RowRun = [
  source: Tensor | EncodedMatrix,
  start: number,
  count: number,
  step?: number,
  turned?: boolean,
  zeros?: number | undefined,
]

/** Every export of the addon; test/boundary/exports.test.ts compares. */
export interface Native {
  Tensor: new () => Tensor
  /** `gateUp`: [2I, K] for SwiGLU, gate rows first. */
  Weight: new (
    shape: number[],
    format: WeightFormat,
    gateUp?: boolean,
    gpu?: Gpu,
  ) => Weight
  CancelToken: new () => CancelToken
  MappedFile: new (parts: string[]) => MappedFile
  Device: new (type: 'cuda' | 'cuda-sim', index: number) => Gpu
  Arena: new (gpu?: Gpu) => Arena
  Plan: new (arena: Arena, options?: PlanOptions) => Plan
  setErrorClass(cls: typeof MoeError): void
  cpu(): { isa: string; isas: string[]; threads: number }
  selectIsa(name: string): void
  /** The usable GPUs, or why there are none. */
  gpus(type: 'cuda' | 'cuda-sim'): { reason: string; gpus: GpuInfo[] }
  /** `later`: it gets its memory when it is filled. */
  tensor(shape: number[], dtype: DType, gpu?: Gpu, later?: boolean): Tensor
  tensorFrom(data: NumberArray, shape: number[], dtype: DType, gpu?: Gpu): Tensor
  /** Copies a row-major tensor, for instance from a mapped file to a GPU. */
  copy(out: Tensor, source: Tensor, cancel?: CancelToken): Promise<void>
  pack(out: Weight, rows: RowRun[], cancel?: CancelToken): Promise<void>
  /** Rows of floats [N, K] as bytes of compressed-tensors' layout: csrc/weights/quantize.h. */
  quantize(
    source: Tensor,
    format: WeightFormat,
    name: string,
  ): Promise<{ values: Uint8Array; scales: Uint8Array }>
  /** The rows, one behind the other, widened and multiplied by `scale`. */
  copyToF32(out: Tensor, rows: RowRun[], scale: number): Promise<void>
  /** source [K, N] -> out [N, K] */
  transpose(source: Tensor, out: Tensor): Promise<void>
  /** Uniform numbers with this mean and standard deviation. */
  fillRandom(out: Tensor | Weight, mean: number, deviation: number, seed: number): Promise<void>
  /** Seconds of `work` bytes read, bytes of fresh memory written, or operations done by all threads: what this machine can do now. */
  probe(
    kind: 'read' | 'fresh' | 'f32' | 'bf16_dot',
    threads: number,
  ): Promise<{ work: number; seconds: number }>
  /** Sums over the rows [T, V] of two models' logits: csrc/cpu/score_logits.h. */
  scoreLogits(
    logits: Tensor,
    targets: Tensor,
    other?: Tensor,
  ): Promise<{ loss: number; otherLoss: number; divergence: number; agreed: number }>
  /** What lib/ops is made of. */
  describeOps(): unknown
  ropeTable(
    out: Tensor,
    frequencies: number[],
    positionScale: number,
    factor: number,
    rounding: string,
  ): Promise<void>
}

let loaded: Native | undefined

/** The addon. Loaded on first use, so that importing this package never fails. */
export function native(): Native {
  if (loaded) return loaded
  checkNode()
  let addon: Native
  const root = packageFolder
  try {
    const here: string | undefined = import.meta.url // absent in a bundle of CommonJS
    const require = createRequire(here ?? path.join(root, 'index.js'))
    addon = (require('node-gyp-build') as (dir: string) => Native)(root)
  } catch (cause) {
    const [line] = (cause as Error).message.split('\n')
    throw new MoeError(
      'ERR_MOE_NATIVE_LOAD',
      `native: a binary for ${process.platform}-${process.arch} must be under ${root}, got none that loads ` +
        `(${line}). ${loadAdvice(root, (cause as Error).message)}.`,
      { cause },
    )
  }
  addon.setErrorClass(MoeError)
  addon.cpu() // an unknown MOE_CPU_ISA is an error here, not in the middle of a run
  loaded = addon
  return loaded
}
