import { constraintGrammar } from '../constraints/constraint.ts'
import type { Allowed, Matcher } from '../constraints/matchers.ts'
import { badOption, MoeError } from '../errors.ts'
import { numberOption, readList } from '../options.ts'

/** Which tokens a text may have; valid. */
export interface ChoiceRequest {
  /** Bit v % 32 of word v / 32 allows id v. */
  allowed: Int32Array | undefined
  grammar: string | undefined
}

const wordsFor = (vocabSize: number): number => Math.ceil(vocabSize / 32)

/** Checks `allowedTokens` and `constraint`. */
export function readChoice(
  allowedTokens: unknown,
  constraint: unknown,
  vocabSize: number,
  hasTokenizer: boolean,
): ChoiceRequest {
  const grammar = constraint === undefined ? undefined : constraintGrammar('generate', constraint)
  if (grammar !== undefined && !hasTokenizer)
    badOption('generate', 'constraint', 'absent, since this model has no tokenizer', constraint)
  if (allowedTokens === undefined) return { allowed: undefined, grammar }
  const range = { min: 0, max: vocabSize - 1, whole: true }
  const bad = (): never =>
    badOption('generate', 'allowedTokens', 'a list of at least one token id', allowedTokens)
  const ids = readList(allowedTokens, (id) => numberOption('allowedTokens', id, range), bad)
  if (ids.length === 0) bad()
  const allowed = new Int32Array(wordsFor(vocabSize))
  for (const id of ids) allowed[id >> 5]! |= 1 << (id & 31)
  return { allowed, grammar }
}

/** What the next token of one text is chosen from. */
export class Choice {
  readonly #matcher: Matcher | undefined
  readonly #allowed: Int32Array | undefined
  readonly #words: number
  readonly #ends: readonly number[]
  #mask: Int32Array | undefined
  #maskWithoutEnds: Int32Array | undefined
  #whole = false

  /** @param ends ids that end a text: allowed by a grammar where it is whole */
  constructor(
    matcher: Matcher | undefined,
    allowed: Int32Array | undefined,
    vocabSize: number,
    ends: readonly number[],
  ) {
    this.#matcher = matcher
    this.#allowed = allowed
    this.#words = wordsFor(vocabSize)
    const mayBe = (id: number) => !allowed || (allowed[id >> 5]! & (1 << (id & 31))) !== 0
    this.#ends = ends.filter(mayBe)
    this.#mask = matcher ? this.#read(matcher.allowed) : allowed
  }

  /** @throws {MoeError} ERR_MOE_UNSUPPORTED where no token may come first; the matcher has ended then */
  static of(
    matcher: Matcher,
    ...rest: [Int32Array | undefined, number, readonly number[]]
  ): Choice {
    try {
      return new Choice(matcher, ...rest)
    } catch (error) {
      matcher.end()
      throw error
    }
  }

  /** The tokens so far decide what may follow. */
  get constrained(): boolean {
    return this.#matcher !== undefined
  }

  /** Bits of the ids that may follow; undefined: all. */
  get mask(): Int32Array | undefined {
    return this.#mask
  }

  /** The same but for the ids that end a text, unless nothing else may follow. */
  get maskWithoutEnds(): Int32Array | undefined {
    if (this.#ends.length === 0) return this.#mask
    this.#maskWithoutEnds ??= this.#withoutEnds()
    return this.#maskWithoutEnds
  }

  #withoutEnds(): Int32Array | undefined {
    const mask = this.#mask?.slice() ?? new Int32Array(this.#words).fill(-1)
    for (const id of this.#ends) mask[id >> 5]! &= ~(1 << (id & 31))
    return mask.some((word) => word !== 0) ? mask : this.#mask
  }

  /** Nothing may follow: the text is whole. */
  get whole(): boolean {
    return this.#whole
  }

  /** Takes the next token of a constrained text. */
  async accept(id: number): Promise<void> {
    this.#mask = this.#read(await this.#matcher!.accept(id))
    this.#maskWithoutEnds = undefined
  }

  end(): void {
    this.#matcher?.end()
  }

  /** @throws {MoeError} ERR_MOE_UNSUPPORTED where the text is not whole and no token may follow */
  #read({ mask, mayEnd }: Allowed): Int32Array {
    const out = new Int32Array(this.#words)
    out.set(mask.subarray(0, this.#words))
    if (this.#allowed) for (let w = 0; w < out.length; w++) out[w]! &= this.#allowed[w]!
    const mayContinue = out.some((word) => word !== 0)
    this.#whole = mayEnd && !mayContinue
    if (mayEnd) for (const id of this.#ends) out[id >> 5]! |= 1 << (id & 31)
    if (!mayContinue && !mayEnd)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        'generate: constraint must be such that some token can go on, got a text where none can',
      )
    return out
  }
}
