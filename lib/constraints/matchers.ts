import { disposed, MoeError } from '../errors.ts'
import { CheckedTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts'
import type { MatcherThread } from './matcher_thread.ts'
import { TaskError, ThreadEnded } from './thread_errors.ts'

/** Milliseconds that a thread may take to begin and a grammar to compile. */
export const compileMs = 10_000
/** Grammars that stay compiled. */
const maxGrammars = 32
/** Threads that may end under a text, each for the sake of another text. */
const maxTries = 10

interface Grammar {
  id: number
  text: string
  users: number
}

/** What the next token of a text may be. */
export interface Allowed {
  /** Bit v % 32 of word v / 32 allows id v. */
  mask: Int32Array
  /** The text may end here. */
  mayEnd: boolean
}

/** A text that is being written by a grammar. */
export interface Matcher {
  readonly allowed: Allowed
  /** What may follow the next token, which was allowed. */
  accept(id: number): Promise<Allowed>
  end(): void
}

/** One thread, and what it has. */
interface Session {
  thread: MatcherThread
  /** In the order of their last use. */
  grammars: Map<string, Grammar>
  /** Grammars are compiled one after the other, so that it is known which one takes long. */
  compiling: Promise<unknown>
}

/**
 * Grammars on a thread of their own, begun with the first one: compiling takes tenths of a second, which must not hold
 * up JavaScript. A grammar that takes too long ends the thread, and texts of other grammars go on in a new one.
 */
export class Matchers {
  readonly #tokens: readonly string[]
  #session: Session | undefined
  #nextId = 0
  #disposed = false

  /** @param tokens each id's bytes in GPT-2's letters; '' for what is no text */
  constructor(tokens: readonly string[]) {
    this.#tokens = [...tokens, ''] // one more, for the end of a text
  }

  /** Over the ids that a tokenizer has, of so many: it spells out all of them. */
  static of(tokenizer: Tokenizer | undefined, vocabSize: number): Matchers {
    if (!(tokenizer instanceof CheckedTokenizer))
      throw new MoeError('ERR_MOE_UNSUPPORTED', 'generate: constraint needs a tokenizer, got none')
    return new Matchers(CheckedTokenizer.letters(tokenizer).slice(0, vocabSize))
  }

  /**
   * @throws {MoeError} ERR_MOE_OPTION for what is no grammar, ERR_MOE_UNSUPPORTED for one that takes too long
   */
  async begin(text: string): Promise<Matcher> {
    const ids: number[] = []
    let running = await this.#start(text, ids)
    return {
      allowed: running.allowed,
      accept: async (id) => {
        const behind = running.accept(id)
        ids.push(id)
        try {
          return await behind
        } catch (error) {
          if (!(error instanceof ThreadEnded)) throw error
          running = await this.#start(text, ids)
          return running.allowed
        }
      },
      end: () => running.end(),
    }
  }

  async #start(text: string, ids: readonly number[]): Promise<Matcher> {
    const { MatcherThread } = await import('./matcher_thread.ts') // and with it Node's threads
    for (let tries = 0; ; tries++) {
      if (this.#disposed) disposed('model')
      this.#session ??= {
        thread: new MatcherThread(this.#tokens),
        ...{ grammars: new Map(), compiling: Promise.resolve() },
      }
      const session = this.#session
      try {
        return await this.#startIn(session, text, ids)
      } catch (error) {
        if (!(error instanceof MoeError)) this.#drop(session)
        if (error instanceof ThreadEnded && tries < maxTries) continue
        throw error
      }
    }
  }

  async #startIn(session: Session, text: string, ids: readonly number[]): Promise<Matcher> {
    const { thread } = session
    const compiled = session.compiling.then(() => this.#grammar(session, text))
    session.compiling = compiled.catch(() => {})
    const grammar = await compiled
    grammar.users++
    const matcher = this.#nextId++
    const read = async (mask: Promise<Int32Array | undefined>) => this.#read((await mask)!)
    const allowed = await read(thread.run({ task: 'begin', matcher, grammar: grammar.id, ids }))
    return {
      allowed,
      accept: (id) => read(thread.run({ task: 'accept', matcher, id })),
      end: () => {
        grammar.users--
        thread.run({ task: 'end', matcher }).catch(() => {}) // the thread may have ended
        this.#forget(session)
      },
    }
  }

  #forget({ grammars, thread }: Session): void {
    for (const { id, text, users } of grammars.values()) {
      if (grammars.size <= maxGrammars) return
      if (users > 0) continue
      grammars.delete(text)
      thread.run({ task: 'forget', grammar: id }).catch(() => {})
    }
  }

  async #grammar(session: Session, text: string): Promise<Grammar> {
    const { grammars } = session
    const known = grammars.get(text)
    const grammar = known ?? { id: this.#nextId++, text, users: 0 }
    if (!known) await this.#compile(session, grammar)
    grammars.delete(text)
    grammars.set(text, grammar)
    return grammar
  }

  async #compile(session: Session, { id, text }: Grammar): Promise<void> {
    const { thread } = session
    let slow = false
    const late = setTimeout(() => {
      slow = true
      this.#drop(session)
    }, compileMs)
    try {
      await thread.ready
      await thread.run({ task: 'compile', grammar: id, text })
    } catch (error) {
      if (slow)
        throw new MoeError(
          'ERR_MOE_UNSUPPORTED',
          `generate: constraint must be compiled within ${compileMs / 1000} s, got a larger one`,
        )
      if (!(error instanceof TaskError)) throw error
      const message = `generate: constraint.grammar must be a grammar, got ${error.message}`
      throw new MoeError('ERR_MOE_OPTION', message, { cause: error })
    } finally {
      clearTimeout(late)
    }
  }

  #read(mask: Int32Array): Allowed {
    const end = this.#tokens.length - 1
    const bit = 1 << (end % 32)
    const word = mask[end >> 5]!
    mask[end >> 5] = word & ~bit
    return { mask, mayEnd: (word & bit) !== 0 }
  }

  #drop(session: Session): void {
    if (this.#session === session) this.#session = undefined
    session.thread.end()
  }

  /** Texts that are being written reject. */
  dispose(): void {
    this.#disposed = true
    if (this.#session) this.#drop(this.#session)
  }
}
