import { MoeError, shown } from '../errors.ts'
import type { ExpertKind } from '../ops/index.ts'
import type { Json } from '../weights/json.ts'

/** What every architecture's config.json is turned into. */
export interface ModelConfig {
  architecture: 'yuan' | 'moepp' | 'mixtral'
  vocabSize: number
  hiddenSize: number
  numLayers: number
  numHeads: number
  numKeyValueHeads: number
  headSize: number
  /** Values of a head that are rotated. */
  rotaryDim: number
  ropeTheta: number
  rmsNormEps: number
  /** Inner size of one FFN expert. */
  expertSize: number
  /** Kind of each expert of a layer; where layers differ, of the largest. */
  experts: ExpertKind[]
  topK: number
  maxPositionEmbeddings: number
  tieWordEmbeddings: boolean
  bosId: number | undefined
  /** Ids that end a text. */
  eosIds: number[]
}

/** Reads config.json values; an absent or null key takes the default, a key without default must be there. */
export class ConfigReader {
  readonly #json: Json
  readonly #where: string

  constructor(json: Json, where = 'config.json') {
    this.#json = json
    this.#where = where
  }

  #read<T>(
    key: string,
    fallback: T | undefined,
    expected: string,
    ok: (value: unknown) => boolean,
  ): T {
    const value = this.#json[key] ?? fallback
    if (!ok(value))
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${this.#where}: ${key} must be ${expected}, got ${shown(value)}`,
      )
    return value as T
  }

  /** A whole number of at least `min`. */
  int(key: string, fallback?: number, min = 1): number {
    const ok = (v: unknown) => Number.isSafeInteger(v) && (v as number) >= min
    return this.#read(key, fallback, `a whole number of at least ${min}`, ok)
  }

  positive(key: string, fallback?: number): number {
    const ok = (v: unknown) => typeof v === 'number' && Number.isFinite(v) && v > 0
    return this.#read(key, fallback, 'a number above 0', ok)
  }

  flag(key: string, fallback?: boolean): boolean {
    return this.#read(key, fallback, 'true or false', (v) => typeof v === 'boolean')
  }

  /** Token ids given as one id, a list, or not at all. */
  ids(key: string): number[] {
    const value = this.#json[key] ?? []
    const list = Array.isArray(value) ? value : [value]
    const ok = () => list.every((id) => Number.isSafeInteger(id) && id >= 0)
    this.#read(key, list, 'a token id or a list of them', ok)
    return list as number[]
  }

  object(key: string): ConfigReader {
    const ok = (v: unknown) => typeof v === 'object' && v !== null && !Array.isArray(v)
    return new ConfigReader(
      this.#read<Json>(key, undefined, 'an object', ok),
      `${this.#where}: ${key}`,
    )
  }

  get(key: string): unknown {
    return this.#json[key] ?? undefined
  }

  /** Refuses, by name, a switch that is not at the one value that works. */
  only(key: string, allowed: unknown): void {
    const value = this.#json[key] ?? allowed
    if (value !== allowed) this.unsupported(key, shown(allowed))
  }

  unsupported(key: string, expected: string): never {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${this.#where}: ${key} must be ${expected}, got ${shown(this.#json[key])}`,
    )
  }

  invalid(key: string, expected: string): never {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${this.#where}: ${key} must be ${expected}, got ${shown(this.#json[key])}`,
    )
  }
}
