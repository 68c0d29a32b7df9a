import { onAbort } from '../aborts.ts'
import { MoeError } from '../errors.ts'
import {
  type ActivationDType,
  type CancelToken,
  type EncodedMatrix,
  type Gpu,
  native,
  type RowRun,
  type Tensor,
  type Weight,
  type WeightFormat,
} from '../native.ts'
import type { Checkpoint } from './checkpoint.ts'
import { compressedTensors } from './compressed_tensors.ts'
import type { MatrixEncoding, TensorSource } from './encoding.ts'
import {
  commonFormat,
  type FormatRule,
  isQuantized,
  type Part,
  type WeightsChoice,
} from './formats.ts'
import { fp8 } from './fp8.ts'
import { gptq } from './gptq.ts'
import { mxfp4 } from './mxfp4.ts'
import { parseQuantization } from './quantization.ts'
import { type Entry, entryDType, floats, short } from './safetensors.ts'
import { count, type Rows, type Share, sourceShape, WeightList } from './weights.ts'

/** How far loading has come, over all files. */
export interface LoadProgress {
  loadedBytes: number
  totalBytes: number
  /** The tensor that was loaded last. */
  tensor: string
}

export interface LoadOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined
  signal?: AbortSignal | undefined
}

const loadsAtOnce = 4

const encodings: readonly MatrixEncoding[] = [gptq, compressedTensors, mxfp4, fp8]

/** Gives a matrix [N, K] to pack rows of; `scratch` is memory of its own. */
interface Matrix {
  scratch: boolean
  load(): Promise<Tensor | EncodedMatrix>
}

interface Task {
  name: string
  bytes: number
  run(cancel: CancelToken): Promise<void>
}

/** One key for all rows of a matrix. */
const id = ({ name, slab }: Rows): string => `${name} ${slab}`
const picked = ({ start, count, step = 1, turned = false, padded }: Rows) =>
  [start, count, step, turned, padded && padded[0] - count] as const

/**
 * Weights of a checkpoint folder. Each tensor is packed straight from the mapped file, whose pages are let
 * go as soon as they have been read; on the CPU, embedding tables are used where they are.
 */
export class CheckpointWeights extends WeightList {
  readonly #checkpoint: Checkpoint
  readonly #source: TensorSource
  readonly #used = new Set<string>()
  readonly #ignored: RegExp[] = [/\.rotary_emb\.inv_freq$/]
  readonly #tasks: Task[] = []

  /** @param dtype of activations, which integers take, too, where no other format is asked for */
  constructor(
    checkpoint: Checkpoint,
    dtype: ActivationDType,
    gpu?: Gpu,
    weights?: WeightsChoice | FormatRule,
  ) {
    super(gpu, weights)
    this.#checkpoint = checkpoint
    const { dir, entries } = checkpoint
    const quantization = parseQuantization(dir, checkpoint.quantization)
    // Scales of a cache in 8 bits: this one has none.
    if (checkpoint.quantization?.kv_cache_scheme)
      this.#ignored.push(/\.self_attn\.([kv]_proj\.)?([kv]_scale|output_scale)$/)
    const open: TensorSource['open'] = (...args) => this.#tensor(...args)
    this.#source = { dir, entries, quantization, dtype, open, keep: true }
  }

  override has(name: string): boolean {
    return this.#checkpoint.entries.has(name) || this.#encoded(name) !== undefined
  }

  #encoded(name: string): { encoding: MatrixEncoding; parts: string[] } | undefined {
    for (const encoding of encodings) {
      const parts = encoding.parts(name, this.#checkpoint.entries)
      if (parts) return { encoding, parts }
    }
    return undefined
  }

  ignore(pattern: RegExp): void {
    this.#ignored.push(pattern)
  }

  table(name: string, shape: number[], share: Share = 'embedding'): Tensor {
    this.parameters[share] += count(shape)
    const source = this.#tensor(name, shape, { dtypes: floats })
    if (!this.gpu) {
      this.tensors.push(source)
      this.count('embedding', source.dtype, source.bytes)
      return source
    }
    const out = this.rows(shape, source.dtype, 'embedding')
    this.#add(name, this.#bytes({ name }), (cancel) => native().copy(out, source, cancel))
    return out
  }

  protected loadVectors(rows: Rows[], out: Tensor, scale: number): void {
    const { sources, bytes } = this.#distinct(rows, (run) => this.#dense(run))
    const runs = rows.map((run): RowRun => [sources.get(id(run))!, ...picked(run)])
    this.#add(rows[0]!.name, bytes, async () => native().copyToF32(out, runs, scale))
  }

  protected loadMatrix(rows: Rows[], out: Weight): void {
    this.loadMatrices([{ rows, out }])
  }

  /** What they are rows of is opened, and turned where it is stored transposed, once for all. */
  protected override loadMatrices(each: { rows: Rows[]; out: Weight }[]): void {
    const all = each.flatMap(({ rows }) => rows)
    const { sources, bytes } = this.#distinct(all, (run) => this.#matrix(run))
    this.#add(all[0]!.name, bytes, async (cancel) => {
      const loaded = new Map<string, Tensor | EncodedMatrix>()
      for (const [key, source] of sources) loaded.set(key, await source.load())
      for (const { rows, out } of each) {
        const runs = rows.map((run): RowRun => [loaded.get(id(run))!, ...picked(run)])
        await native().pack(out, runs, cancel)
      }
      for (const [key, { scratch }] of sources) {
        const matrix = loaded.get(key)!
        if (scratch && 'release' in matrix) matrix.release()
      }
    })
  }

  /** What `open` gives for each matrix that rows are of, and the bytes of all. */
  #distinct<T>(rows: Rows[], open: (run: Rows) => T): { sources: Map<string, T>; bytes: number } {
    const matrices = new Map(rows.map((run) => [id(run), run]))
    return {
      sources: new Map([...matrices].map(([key, run]) => [key, open(run)])),
      bytes: [...matrices.values()].reduce((n, run) => n + this.#bytes(run), 0),
    }
  }

  protected matrixFormat(rows: Rows[], part: Part): WeightFormat {
    const source = { ...this.#source, keep: this.#source.keep && isQuantized(part) }
    const stored = new Map(rows.map((run) => [id(run), run]))
    const formats = new Set<WeightFormat>()
    for (const run of stored.values()) {
      const bf16 = this.#checkpoint.entries.get(run.name)?.storedDtype === 'BF16'
      formats.add(this.#encoded(run.name)?.encoding.format(run, source) ?? (bf16 ? 'bf16' : 'f32'))
    }
    return commonFormat([...formats])
  }

  protected later(run: () => Promise<void>): void {
    this.#tasks.push({ name: '', bytes: 0, run })
  }

  /** The matrix that rows are of, wherever the file has it; checked now. */
  #matrix(run: Rows): Matrix {
    const encoded = this.#encoded(run.name)
    if (encoded) {
      for (const part of encoded.parts) this.#entry(part)
      const matrix = encoded.encoding.open(run, this.#source)
      return { scratch: false, load: async () => matrix }
    }
    const source = this.#dense(run)
    if (!run.transposed) return { scratch: false, load: async () => source }
    return {
      scratch: true,
      async load() {
        const out = native().tensor(sourceShape(run), source.dtype)
        await native().transpose(source, out)
        return out
      },
    }
  }

  /** As the file has it: transposed where it is. */
  #dense(run: Rows): Tensor {
    const { name, shape, slab, transposed } = run
    const [N, K] = sourceShape(run)
    return this.#tensor(name, shape, { view: transposed ? [K, N] : [N, K], slab, dtypes: floats })
  }

  #entry(name: string): Entry {
    const entry = this.#checkpoint.entries.get(name)
    if (!entry)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${this.#checkpoint.dir}: tensor ${name} must be there, got ${this.#nearName(name)}`,
      )
    this.use(name)
    return entry
  }

  /** The tensor with something before its name, as wrappers of models save it, or without its beginning. */
  #nearName(name: string): string {
    const rest = name.slice(name.indexOf('.') + 1)
    for (const other of this.#checkpoint.entries.keys())
      if (other.endsWith(`.${name}`) || other === rest)
        return `${short(other)}; save the model that is inside, with its head`
    return 'nothing'
  }

  /** Somebody asked for the tensor. */
  protected use(name: string): void {
    this.#used.add(name)
  }

  /** Of several slabs, only that one: its pages are let go when it has been read. */
  #tensor(
    name: string,
    shape: number[],
    { view = shape, slab = 0, dtypes }: Parameters<TensorSource['open']>[2] = {},
  ): Tensor {
    const entry = this.#entry(name)
    const same =
      entry.shape.length === shape.length && entry.shape.every((dim, i) => dim === shape[i])
    if (!same)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${entry.label}: tensor ${name} must be [${shape.join(', ')}], got [${entry.shape.join(', ')}]`,
      )
    const dtype = entryDType(entry, dtypes)
    const offset = (entry.bytes / count(shape)) * count(view) * slab
    return entry.file.tensor(entry.offset + offset, view, dtype)
  }

  /** What loading a tensor, or one matrix of it, reads. */
  #bytes({ name, shape, slab }: Pick<Rows, 'name'> & Partial<Rows>): number {
    const { entries } = this.#checkpoint
    const files = this.#encoded(name)?.parts ?? [name]
    const bytes = files.reduce((n, file) => n + (entries.get(file)?.bytes ?? 0), 0)
    return slab === undefined ? bytes : bytes / shape![0]!
  }

  #add(name: string, bytes: number, run: Task['run']): void {
    this.#tasks.push({ name, bytes, run })
  }

  /** Fails on names that nothing asked for: a checkpoint of another architecture, or a damaged one. */
  checkNames(): void {
    for (const [name, entry] of this.#checkpoint.entries) {
      if (this.#used.has(name) || this.#ignored.some((pattern) => pattern.test(name))) continue
      if (this.#addsNothing(entry)) continue
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${entry.label}: tensor ${name} must be one the model knows`,
      )
    }
  }

  /** AutoGPTQ writes a bias beside every matrix: zeros where the model has none. */
  #addsNothing({ name, file, offset, bytes }: Entry): boolean {
    const matrix = name.replace(/\.bias$/, '.qweight')
    if (matrix === name || !this.#checkpoint.entries.has(matrix)) return false
    return file.read(offset, bytes).every((byte) => byte === 0)
  }

  /** Fills every handle. An abort rejects with the signal's reason. */
  async load({ onProgress, signal }: LoadOptions): Promise<void> {
    const tasks = this.#tasks.splice(0) // lets the mapped files go at the end
    const totalBytes = tasks.reduce((n, task) => n + task.bytes, 0)
    const cancel = new (native().CancelToken)()
    const forget = signal && onAbort(signal, () => cancel.cancel())
    let loadedBytes = 0
    let failed = false
    // A few at a time, so that the engine never waits for this thread.
    const worker = async (): Promise<void> => {
      for (let task = tasks.shift(); task && !failed; task = tasks.shift()) {
        signal?.throwIfAborted()
        await task.run(cancel)
        loadedBytes += task.bytes
        if (task.name) onProgress?.({ loadedBytes, totalBytes, tensor: task.name })
      }
    }
    const workers = Array.from({ length: loadsAtOnce }, () =>
      worker().catch((error: unknown) => {
        failed = true
        throw error
      }),
    )
    const ended = await Promise.allSettled(workers)
    forget?.()
    const failure = ended.find((result) => result.status === 'rejected')
    if (!failure && !signal?.aborted) return
    throw signal?.aborted ? signal.reason : failure!.reason
  }
}
