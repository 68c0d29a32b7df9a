import { type Gpu, native, type Tensor } from '../native.ts'
import { loadPair } from './pairs.ts'
import type { PeftModule } from './peft.ts'

/** A LoRA adapter that a model has loaded. */
export interface AdapterInfo {
  /** What calls name it by. */
  name: string
  /** The largest of its modules. */
  rank: number
  /** How many modules of the base it adds to. */
  modules: number
  parameters: number
  /** That it takes in memory. */
  bytes: number
}

let loads = 0

/** An adapter in memory, and who uses it. */
export class Adapter {
  /** Another for each load: what is cached for one must not serve another of the same name. */
  readonly id = ++loads
  readonly info: AdapterInfo
  /** By module, [r, inputs + outputs]. */
  readonly pairs: ReadonlyMap<string, Tensor>
  #users = 0
  #unused: (() => void) | undefined

  private constructor(name: string, pairs: ReadonlyMap<string, Tensor>) {
    const all = [...pairs.values()]
    const bytes = all.reduce((n, pair) => n + pair.bytes, 0)
    const rank = all.reduce((most, { shape }) => Math.max(most, shape[0]!), 0)
    this.info = { name, rank, modules: all.length, parameters: bytes / 4, bytes }
    this.pairs = pairs
  }

  static async load(
    name: string,
    modules: readonly PeftModule[],
    gpu: Gpu | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Adapter> {
    native()
    const pairs = new Map<string, Tensor>()
    try {
      for (const { name, a, b, scaling } of modules) {
        signal?.throwIfAborted()
        pairs.set(name, await loadPair(a, b, scaling, gpu))
      }
      signal?.throwIfAborted()
      return new Adapter(name, pairs)
    } catch (error) {
      for (const pair of pairs.values()) pair.release()
      throw error
    }
  }

  /** A text is computed with it. */
  retain(): void {
    this.#users++
  }

  /** The text has ended. */
  leave(): void {
    if (--this.#users === 0) this.#unused?.()
  }

  /** Resolves when no text uses it. */
  unused(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#users === 0) resolve()
      else this.#unused = resolve
    })
  }

  /** Frees the memory now. Only after the last step that uses it. */
  release(): void {
    for (const pair of this.pairs.values()) pair.release()
  }
}
