import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { MoeError } from './errors.ts'

/** Element type of a tensor. */
export type DType = 'f32' | 'bf16' | 'f16' | 'i32' | 'u8'
/** Element type of activations. */
export type ActivationDType = 'f32' | 'bf16'
/** How the values of a weight are stored: csrc/weights/format.h. */
export type WeightFormat = 'f32' | 'bf16'
/** What a GEMM does to its sums: csrc/ops/activation.h. */
export type Activation = 'none' | 'silu' | 'swiglu' | 'tanh'
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
  /** Frees the memory now, under all views. */
  release(): void
}

/** A matrix [N, K] that GEMMs multiply with, packed for its device. It gets its memory when it is filled. */
export interface Weight {
  readonly shape: number[]
  readonly format: WeightFormat
  /** What it takes in memory. */
  readonly bytes: number
  /** Frees the memory now. */
  release(): void
}

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

type Maybe = Tensor | undefined

/** The fields of csrc/ops/top_k.h. */
export type TopKArguments = [
  logits: Tensor,
  ids: Tensor,
  weights: Tensor,
  kind: string,
  normStd: number,
  givesShare: number[] | undefined,
  groups: number[],
  offsets: Tensor,
  rows: Tensor,
]

export interface PlanTime {
  ops: string[]
  seconds: Float64Array
  launches: number
}

/** A recorded forward pass. Each op is one method; `lib/ops` documents them. */
export interface Plan {
  empty(shape: number[], dtype: DType): Tensor
  /**
   * Copies inputs in, runs off this thread, and resolves to a copy of each output. Runs follow each other in the
   * order of the calls. An input may come from a tensor, such as an output of the run before.
   */
  run(
    inputs: [Tensor, NumberArray | Tensor][],
    outputs: Tensor[],
    threads: number,
    cancel?: CancelToken,
  ): Promise<NumberArray[]>

  /**
   * Runs on whatever is in memory and times every op: seconds [iterations, ops]. `launches` are the kernels of a
   * run on a GPU, once it has been captured; 0 on the CPU.
   */
  time(iterations: number, threads: number): Promise<PlanTime>
  /** Seconds of each whole run: [iterations]. On a GPU, of the replayed graph. */
  timeRuns(iterations: number, threads: number): Promise<Float64Array>

  embedding(table: Tensor, ids: Tensor, out: Tensor): void
  rmsNorm(x: Tensor, weight: Tensor, out: Tensor, eps: number): void
  linear(
    x: Tensor,
    weight: Weight,
    bias: Maybe,
    residual: Maybe,
    out: Tensor,
    activation: Activation,
  ): void
  normLinear(
    x: Tensor,
    normWeight: Tensor,
    eps: number,
    normed: Tensor,
    exact: Maybe,
    weight: Weight,
    out: Tensor,
  ): void
  ropeCache(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    slots: Tensor,
    table: Tensor,
    keys: Tensor,
    values: Tensor,
  ): void
  attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    positions: Tensor,
    starts: Tensor,
    sequences: Tensor,
    blockTable: Tensor,
    out: Tensor,
    scale: number,
  ): void
  causalPair(
    x: Tensor,
    state: Tensor,
    positions: Tensor,
    slots: Tensor,
    sequences: Tensor,
    blockTable: Tensor,
    out: Tensor,
  ): void
  attentionRouter(qkv: Tensor, logits: Tensor): void
  topK(...args: TopKArguments): void
  route(
    x: Tensor,
    normWeight: Tensor,
    eps: number,
    normed: Tensor,
    weight: Weight,
    qkv: Maybe,
    previous: Maybe,
    gateMap: Weight | undefined,
    carried: Maybe,
    topK: TopKArguments,
  ): void
  probe(from: Tensor, to: Tensor, kind: 'read' | 'copy' | 'empty'): void
  permute(x: Tensor, rows: Tensor, scale: number, out: Tensor): void
  groupedGemm(
    x: Tensor,
    rows: Maybe,
    scale: number,
    gathered: Maybe,
    offsets: Tensor,
    weights: Weight[],
    out: Tensor,
    activation: Activation,
  ): void
  combine(
    expertOut: Tensor,
    rows: Tensor,
    ids: Tensor,
    weights: Tensor,
    residual: Tensor,
    kinds: number[],
    x: Maybe,
    constants: Maybe,
    gates: Maybe,
    scale: number,
    out: Tensor,
  ): void
  gatherRows(x: Tensor, rows: Tensor, out: Tensor): void
  sample(
    logits: Tensor,
    options: Tensor,
    counts: Tensor,
    history: Tensor,
    historyOffsets: Tensor,
    ids: Tensor,
    logprobs: Tensor,
    topIds: Maybe,
    topLogprobs: Maybe,
    vocabulary: number,
  ): void
}

/** Rows `start` to `start + count` of a [*, K] tensor. */
export type RowRun = [source: Tensor, start: number, count: number]

/** Every export of the addon; test/boundary/native.test.ts compares. */
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
  Plan: new (arena: Arena) => Plan
  setErrorClass(cls: typeof MoeError): void
  cpu(): { isa: string; isas: string[]; threads: number }
  selectIsa(name: string): void
  /** The usable GPUs, or why there are none. */
  gpus(type: 'cuda' | 'cuda-sim'): { reason: string; gpus: GpuInfo[] }
  tensor(shape: number[], dtype: DType, gpu?: Gpu): Tensor
  tensorFrom(data: NumberArray, shape: number[], dtype: DType, gpu?: Gpu): Tensor
  /** Copies a row-major tensor, for instance from a mapped file to a GPU. */
  copy(out: Tensor, source: Tensor, cancel?: CancelToken): Promise<void>
  pack(out: Weight, rows: RowRun[], cancel?: CancelToken): Promise<void>
  /** Widens `source` into `out` from element `at` on. */
  copyToF32(out: Tensor, source: Tensor, at: number): Promise<void>
  dequantizeGptq(
    qweight: Tensor,
    qzeros: Tensor,
    scales: Tensor,
    gIdx: Tensor,
    bits: number,
    out: Tensor,
  ): Promise<void>
  /** Uniform numbers with this mean and standard deviation. */
  fillRandom(out: Tensor | Weight, mean: number, deviation: number, seed: number): Promise<void>
  /** Seconds of `work` bytes read, bytes of fresh memory written, or operations done by all threads: what this machine can do now. */
  probe(
    kind: 'read' | 'fresh' | 'f32' | 'bf16_dot',
    threads: number,
  ): Promise<{ work: number; seconds: number }>
  ropeTable(out: Tensor, base: number, positionScale: number, rounding: string): Promise<void>
}

const require = createRequire(import.meta.url)
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
let loaded: Native | undefined

/** The addon. Loaded on first use, so that importing this package never fails. */
export function native(): Native {
  if (loaded) return loaded
  let addon: Native
  try {
    addon = (require('node-gyp-build') as (dir: string) => Native)(root)
  } catch (cause) {
    throw new MoeError(
      'ERR_MOE_NATIVE_LOAD',
      `native: a binary for ${process.platform}-${process.arch} must be under ${root}, got none that loads ` +
        `(${(cause as Error).message.split('\n')[0]}). Build it in a clone of the repository: ` +
        '`npm install && npm run build` (CMake >= 3.20 and a C++20 compiler).',
      { cause },
    )
  }
  addon.setErrorClass(MoeError)
  addon.cpu() // an unknown MOE_CPU_ISA is an error here, not in the middle of a run
  loaded = addon
  return loaded
}
