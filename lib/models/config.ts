import { MoeError, shown } from '../errors.ts'
import type { ExpertKind } from '../ops/index.ts'
import type { Json } from '../weights/json.ts'
import type { RopeSpec } from '../weights/rope.ts'
import { type ConfigKeys, checkKeys } from './config_keys.ts'

/** What every architecture's config.json is turned into. */
export interface ModelConfig {
  /** The family, in our spelling. */
  architecture: string
  vocabSize: number
  hiddenSize: number
  numLayers: number
  numHeads: number
  numKeyValueHeads: number
  headSize: number
  /** Values of a head that are rotated. */
  rotaryDim: number
  /** How positions are rotated. */
  rope: RopeSpec
  rmsNormEps: number
  /** Inner size of one FFN expert. */
  expertSize: number
  /** Kind of each expert of a layer; where layers differ, of the largest. */
  experts: ExpertKind[]
  /** Experts that a token chooses. */
  topK: number
  /** The longest text, in tokens. */
  maxPositionEmbeddings: number
  /** Whether the head is the embedding table. */
  tieWordEmbeddings: boolean
  bosId: number | undefined
  /** Ids that end a text. */
  eosIds: number[]
}

/** The largest there are, many times over: a number in a file never decides how long a load takes. */
export const limits = {
  /** Layers, heads, experts of a layer: each is an object. */
  count: 1024,
  /** Experts of all layers. */
  experts: 65536,
  /** Widths and the vocabulary. */
  size: 2 ** 24,
  headSize: 1024,
  positions: 2 ** 30,
  theta: 1e12,
  factor: 1e6,
} as const

/**
 * Reads config.json values; an absent or null key takes the default, a key without default must be there.
 * With a table, keys that it lacks are refused.
 */
export class ConfigReader<Key extends string = string> {
  readonly #json: Json
  readonly #where: string

  constructor(json: Json, where = 'config.json', tables?: readonly ConfigKeys[]) {
    this.#json = json
    this.#where = where
    if (tables) checkKeys(json, tables, where)
  }

  #read<T>(
    key: Key,
    fallback: T | undefined,
    expected: string,
    ok: (value: unknown) => boolean,
  ): T {
    const value = this.#json[key] ?? fallback
    if (!ok(value)) this.#fail('ERR_MOE_CHECKPOINT', key, expected, value)
    return value as T
  }

  #fail(
    code: 'ERR_MOE_CHECKPOINT' | 'ERR_MOE_UNSUPPORTED',
    key: string,
    expected: string,
    value: unknown = this.#json[key],
  ): never {
    throw new MoeError(code, `${this.#where}: ${key} must be ${expected}, got ${shown(value)}`)
  }

  /** How many there are of something that takes memory for each: layers, heads, experts. */
  count(key: Key, fallback?: number): number {
    return this.int(key, fallback, { max: limits.count })
  }

  /** A whole number. */
  int(key: Key, fallback?: number, { min = 1, max = limits.size as number } = {}): number {
    const value = this.#json[key] ?? fallback
    const tooLarge = typeof value === 'number' && value > max
    const expected = `a whole number of at ${tooLarge ? `most ${max}` : `least ${min}`}`
    const ok = (v: unknown) =>
      Number.isSafeInteger(v) && (v as number) >= min && (v as number) <= max
    return this.#read(key, fallback, expected, ok)
  }

  /** A number from `min` to `max`. */
  number(key: Key, fallback: number | undefined, min: number, max: number): number {
    const ok = (v: unknown) => typeof v === 'number' && v >= min && v <= max
    return this.#read(key, fallback, `a number from ${min} to ${max}`, ok)
  }

  /** What keeps a norm from dividing by zero: representable in f32, and small. */
  epsilon(key: Key, fallback: number): number {
    return this.number(key, fallback, 1e-30, 1)
  }

  /** null is false, as Python takes it, whatever the fallback is. */
  flag(key: Key, fallback?: boolean): boolean {
    if (this.isNull(key) && fallback !== undefined) return false
    return this.#read(key, fallback, 'true or false', (v) => typeof v === 'boolean')
  }

  /** Ids of the vocabulary, given as one or a list. Absent: the fallback, as far as it is in it; null: none. */
  ids(key: Key, vocabSize: number, fallback: number[] = []): number[] {
    const value = this.#json[key]
    if (value === undefined) return fallback.filter((id) => id < vocabSize)
    const list: unknown[] = Array.isArray(value) ? value : value === null ? [] : [value]
    const ok = (id: unknown) =>
      Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize
    const expected = `a token id from 0 to ${vocabSize - 1} or a list of them`
    if (!list.every(ok)) this.#fail('ERR_MOE_CHECKPOINT', key, expected)
    return list as number[]
  }

  /** Numbers above 0. */
  numbers(key: Key): number[] {
    const positive = (v: unknown) => typeof v === 'number' && v > 0 && v <= limits.factor
    const ok = (v: unknown) => Array.isArray(v) && v.length > 0 && v.every(positive)
    return this.#read<number[]>(key, undefined, 'a list of numbers above 0', ok)
  }

  /** The object at a key, whose own keys are in `table`. */
  object<Inner extends string>(key: Key, table: ConfigKeys<Inner>): ConfigReader<Inner> {
    return this.within(key, this.dictionary(key) ?? {}, table)
  }

  /** A reader of what stands at `path` of this one. */
  within<Inner extends string>(
    path: string,
    json: Json,
    table: ConfigKeys<Inner>,
  ): ConfigReader<Inner> {
    return new ConfigReader<Inner>(json, `${this.#where}: ${path}`, [table])
  }

  /** The object at a key as it is. */
  dictionary(key: Key): Json | undefined {
    const ok = (v: unknown) =>
      v === undefined || (typeof v === 'object' && v !== null && !Array.isArray(v))
    return this.#read<Json | undefined>(key, undefined, 'an object', ok)
  }

  get(key: Key): unknown {
    return this.#json[key] ?? undefined
  }

  /** Whether the file says null, where that is not the same as nothing. */
  isNull(key: Key): boolean {
    return this.#json[key] === null
  }

  unsupported(key: Key, expected: string): never {
    return this.#fail('ERR_MOE_UNSUPPORTED', key, expected)
  }

  invalid(key: Key, expected: string): never {
    return this.#fail('ERR_MOE_CHECKPOINT', key, expected)
  }
}
