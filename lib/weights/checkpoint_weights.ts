import { MoeError } from '../errors.ts'
import {
  type ActivationDType,
  type CancelToken,
  type Gpu,
  native,
  type RowRun,
  type Tensor,
  type Weight,
  type WeightFormat,
} from '../native.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { WeightsOption } from './formats.ts'
import { dequantize, type GptqConfig, parseGptq, quantizedLayer, quantizedNames } from './gptq.ts'
import { type Entry, entryDType } from './safetensors.ts'
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

interface Task {
  name: string
  bytes: number
  run(cancel: CancelToken): Promise<void>
}

/**
 * Weights of a checkpoint folder. Each tensor is packed straight from the mapped file, whose pages are let
 * go as soon as they have been read; on the CPU, embedding tables are used where they are.
 */
export class CheckpointWeights extends WeightList {
  readonly #checkpoint: Checkpoint
  readonly #gptq: GptqConfig | undefined
  readonly #dtype: ActivationDType
  readonly #used = new Set<string>()
  readonly #ignored: RegExp[] = [/\.rotary_emb\.inv_freq$/]
  readonly #tasks: Task[] = []

  /** @param dtype what GPTQ weights become that no other format is asked for */
  constructor(checkpoint: Checkpoint, dtype: ActivationDType, gpu?: Gpu, weights?: WeightsOption) {
    super(gpu, weights)
    this.#checkpoint = checkpoint
    this.#gptq = parseGptq(checkpoint.dir, checkpoint.quantization)
    this.#dtype = dtype
  }

  override has(name: string): boolean {
    const { entries } = this.#checkpoint
    return entries.has(name) || quantizedLayer(name, entries) !== undefined
  }

  ignore(pattern: RegExp): void {
    this.#ignored.push(pattern)
  }

  table(name: string, shape: number[], share: Share = 'embedding'): Tensor {
    this.parameters[share] += count(shape)
    const source = this.#tensor(name, shape)
    if (!this.gpu) {
      this.tensors.push(source)
      this.count('embedding', source.dtype, source.bytes)
      return source
    }
    const out = this.rows(shape, source.dtype, 'embedding')
    this.#add(name, this.#bytes({ name }), (cancel) => native().copy(out, source, cancel))
    return out
  }

  protected loadVector(name: string, shape: number[], out: Tensor, at: number): void {
    const source = this.#tensor(name, shape)
    this.#add(name, this.#bytes({ name }), async () => native().copyToF32(out, source, at))
  }

  protected loadMatrix(rows: Rows[], out: Weight): void {
    const id = ({ name, slab }: Rows) => `${name} ${slab}`
    const matrices = new Map(rows.map((run) => [id(run), run]))
    const sources = [...matrices].map(([key, run]) => [key, this.#source(run)] as const)
    const bytes = [...matrices.values()].reduce((n, run) => n + this.#bytes(run), 0)
    this.#add(rows[0]!.name, bytes, async (cancel) => {
      const loaded = new Map<string, Tensor>()
      for (const [key, source] of sources) loaded.set(key, await source())
      const runs: RowRun[] = rows.map((run) => [loaded.get(id(run))!, run.start, run.count])
      await native().pack(out, runs, cancel)
    })
  }

  protected matrixFormat(rows: Rows[]): WeightFormat {
    const { entries } = this.#checkpoint
    const isBf16 = ({ name }: Rows): boolean =>
      quantizedLayer(name, entries)
        ? this.#dtype === 'bf16'
        : entries.get(name)?.storedDtype === 'BF16'
    return rows.every(isBf16) ? 'bf16' : 'f32'
  }

  protected later(run: () => Promise<void>): void {
    this.#tasks.push({ name: '', bytes: 0, run })
  }

  /** A function that gives the rows' tensor as [N, K], unpacked if it is quantised. Shapes are checked now. */
  #source(run: Rows): () => Promise<Tensor> {
    const { name, shape, slab } = run
    const { entries } = this.#checkpoint
    const layer = slab === undefined ? quantizedLayer(name, entries) : undefined
    if (!layer) {
      const tensor = this.#tensor(name, shape, { view: sourceShape(run), slab })
      return () => Promise.resolve(tensor)
    }
    if (!this.#gptq)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${this.#checkpoint.dir}: quantize_config.json must exist for ${layer}.qweight, got nothing there`,
      )
    const gptq = this.#gptq
    for (const part of quantizedNames(layer)) this.#entry(part)
    const tensorOf = (part: string, partShape: number[]) => this.#tensor(part, partShape)
    return () => dequantize(tensorOf, layer, shape as [number, number], gptq, entries, this.#dtype)
  }

  #entry(name: string): Entry {
    const entry = this.#checkpoint.entries.get(name)
    if (!entry)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${this.#checkpoint.dir}: tensor ${name} must be there, got nothing`,
      )
    this.#used.add(name)
    return entry
  }

  /** Of several slabs, only that one: its pages are let go when it has been read. */
  #tensor(
    name: string,
    shape: number[],
    { view = shape, slab = 0 }: { view?: number[]; slab?: number | undefined } = {},
  ): Tensor {
    const entry = this.#entry(name)
    const same =
      entry.shape.length === shape.length && entry.shape.every((dim, i) => dim === shape[i])
    if (!same)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${entry.label}: tensor ${name} must be [${shape.join(', ')}], got [${entry.shape.join(', ')}]`,
      )
    const dtype = entryDType(entry)
    const offset = (entry.bytes / count(shape)) * count(view) * slab
    return entry.file.tensor(entry.offset + offset, view, dtype)
  }

  /** What loading a tensor, or one matrix of it, reads. */
  #bytes({ name, shape, slab }: Pick<Rows, 'name'> & Partial<Rows>): number {
    const { entries } = this.#checkpoint
    const layer = quantizedLayer(name, entries)
    const files = layer ? quantizedNames(layer) : [name]
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
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${entry.label}: tensor ${name} must be one the model knows`,
      )
    }
  }

  /** Fills every handle. An abort rejects with the signal's reason. */
  async load({ onProgress, signal }: LoadOptions): Promise<void> {
    const tasks = this.#tasks.splice(0) // lets the mapped files go at the end
    const totalBytes = tasks.reduce((n, task) => n + task.bytes, 0)
    const cancel = new (native().CancelToken)()
    const onAbort = () => cancel.cancel()
    signal?.addEventListener('abort', onAbort, { once: true })
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
    signal?.removeEventListener('abort', onAbort)
    const failure = ended.find((result) => result.status === 'rejected')
    if (!failure && !signal?.aborted) return
    throw signal?.aborted ? signal.reason : failure!.reason
  }
}
