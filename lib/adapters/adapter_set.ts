import path from 'node:path'
import { badOption, disposed, MoeError } from '../errors.ts'
import type { LowRank, Module } from '../layers/projection.ts'
import { type Gpu, native, type Plan, type Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, signalOption } from '../options.ts'
import { adapterFolder } from '../weights/mistakes.ts'
import { Adapter, type AdapterInfo } from './adapter.ts'
import { openPeft } from './peft.ts'

/** Options of `model.loadAdapter`. */
export interface LoadAdapterOptions {
  /** What calls name it by; default the folder's name. */
  name?: string | undefined
  /** Aborts; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

const optionNames: OptionNames<LoadAdapterOptions> = { name: true, signal: true }

/** Kernels of a GPU take so many adapters of three modules side by side. */
const mostOnGpu = 64

/** The adapters of one model. */
export class AdapterSet {
  readonly #modules: readonly Module[]
  readonly #gpu: Gpu | undefined
  readonly #byName = new Map<string, Adapter | 'loading'>()
  /** In the order of the ids that steps have; among them some that are to go when their texts have ended. */
  readonly #all: Adapter[] = []
  readonly #none = new Map<number, Tensor>()
  #generation = 0
  #disposed = false

  /** @param modules of the model that take adapters */
  constructor(modules: readonly Module[], gpu: Gpu | undefined) {
    this.#modules = modules
    this.#gpu = gpu
  }

  /** Another one whenever ids mean other adapters. */
  get generation(): number {
    return this.#generation
  }

  get infos(): AdapterInfo[] {
    return [...this.#byName.values()].flatMap((one) => (one === 'loading' ? [] : [{ ...one.info }]))
  }

  /** Which of them each token has, for a step of this generation. */
  indexOf(adapter: Adapter | undefined): number {
    return adapter ? this.#all.indexOf(adapter) : -1
  }

  /** @throws {MoeError} ERR_MOE_OPTION where there is none of that name */
  get(where: string, name: string | undefined): Adapter | undefined {
    if (name === undefined) return undefined
    const found = this.#byName.get(name)
    if (found instanceof Adapter) return found
    const names = this.infos.map((info) => JSON.stringify(info.name))
    const there =
      names.length > 0 ? `one that is loaded (${names.join(', ')})` : 'absent, since none is loaded'
    return badOption(where, 'adapter', there, name)
  }

  async load(dir: string | URL, options: LoadAdapterOptions): Promise<AdapterInfo> {
    const where = 'loadAdapter'
    checkOptions(where, options, optionNames)
    const { name: given, signal: asked } = options
    const signal = signalOption(where, asked)
    signal?.throwIfAborted()
    const folder = adapterFolder(where, dir)
    const name = given ?? path.basename(path.resolve(folder))
    if (typeof name !== 'string' || name === '')
      badOption(where, 'name', 'a non-empty string', name)
    if (this.#byName.has(name)) badOption(where, 'name', 'of no other adapter', name)
    if (this.#gpu && this.#byName.size >= mostOnGpu)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${where}: adapters must be at most ${mostOnGpu} on a GPU, got ${this.#byName.size + 1}`,
      )
    const modules = openPeft(folder, this.#modules)
    this.#byName.set(name, 'loading')
    try {
      const adapter = await Adapter.load(name, modules, this.#gpu, signal)
      if (this.#disposed) {
        adapter.release()
        disposed('model')
      }
      this.#byName.set(name, adapter)
      this.#all.push(adapter)
      this.#generation++
      return { ...adapter.info }
    } catch (error) {
      this.#byName.delete(name)
      throw error
    }
  }

  /**
   * Takes an adapter out: no call can name it any more, and its memory is freed when the last text that uses it has
   * ended.
   *
   * @param settled resolves when the steps have ended that are under way
   */
  async unload(name: string, settled: () => Promise<void>): Promise<void> {
    const adapter =
      this.get('unloadAdapter', name) ?? badOption('unloadAdapter', 'name', 'a name', name)
    this.#byName.delete(name)
    await adapter.unused()
    if (this.#disposed) return
    this.#all.splice(this.#all.indexOf(adapter), 1)
    this.#generation++
    await settled()
    adapter.release()
  }

  /** The adapters of this generation, for a step whose tokens have `ids` [T, 1] i32. */
  lowRank(ids: Tensor): LowRank {
    const adapters = [...this.#all]
    return {
      add: (plan: Plan, x, modules, residual, scale) => {
        let width = 0
        const placed = modules.map((module) => {
          const column = width
          width += module.outputs
          return { module, column }
        })
        const parts = placed.filter(({ module }) =>
          adapters.some(({ pairs }) => pairs.has(module.name)),
        )
        if (parts.length === 0) return residual
        const pairs = adapters.flatMap((adapter) =>
          parts.map(({ module }) => adapter.pairs.get(module.name) ?? this.#nothing(module)),
        )
        const columns = parts.map(({ column }) => column)
        return ops.lora(plan, { x, ids, pairs, columns, residual, width, scale }).out
      },
    }
  }

  /** The pair of a module that an adapter leaves as it is. */
  #nothing({ inputs, outputs }: Module): Tensor {
    const width = inputs + outputs
    const known = this.#none.get(width) ?? native().tensor([0, width], 'f32', this.#gpu)
    this.#none.set(width, known)
    return known
  }

  /** Frees everything. No step may be under way. */
  dispose(): void {
    this.#disposed = true
    for (const adapter of this.#all.splice(0)) adapter.release()
    for (const tensor of this.#none.values()) tensor.release()
    this.#byName.clear()
  }
}
