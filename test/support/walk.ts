import type { Matchers } from '../../lib/constraints/matchers.ts'
import { byteLetters, lettersOf } from '../../lib/tokenizer/bytes.ts'

const more = [
  ...[
    '","',
    '":',
    '{"',
    '"}',
    '"]',
    '[{',
    '}]',
    '\\"',
    '\\n',
    'true',
    'null',
    'é',
    '😀',
    '00',
    '1.',
  ],
  ...['ab', ' a', 'name', 'e+', '-', '<tool_call>', ', '],
]
/** All bytes, and pieces that reach over what a grammar has in between. */
export const walkTokens = [...byteLetters, ...more.map(lettersOf)]
const bytesOf = [
  ...byteLetters.map((_, byte) => Buffer.from([byte])),
  ...more.map((text) => Buffer.from(text)),
]

/** Random numbers from 0 to 1. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Ends things: taken when a text has become long. */
const closing = [...'"}]0@.xa-'].map((letter) => letter.charCodeAt(0))

/**
 * A text by a grammar, token by token: any that is allowed, as unlikely ones as any. undefined: it found no end.
 */
export async function walk(
  matchers: Matchers,
  grammar: string,
  random: () => number,
): Promise<string | undefined> {
  const matcher = await matchers.begin(grammar)
  const out: Buffer[] = []
  let { mask, mayEnd } = matcher.allowed
  const allows = (id: number) => ((mask[id >> 5]! >>> (id & 31)) & 1) === 1
  try {
    for (let n = 0; n < 600; n++) {
      const ids = bytesOf.flatMap((_, id) => (allows(id) ? [id] : []))
      const printable = ids.filter((id) => id >= 256 || (id >= 32 && id < 127))
      if (mayEnd && (ids.length === 0 || n > 30 || random() < 0.1))
        return Buffer.concat(out).toString()
      const wanted = n > 30 ? printable.filter((id) => closing.includes(id)) : []
      const from = wanted.length > 0 ? wanted : printable.length > 0 ? printable : ids
      if (from.length === 0) throw new Error(`nothing may follow ${Buffer.concat(out)}`)
      const id = from[Math.floor(random() * from.length)]!
      out.push(bytesOf[id]!)
      ;({ mask, mayEnd } = await matcher.accept(id))
    }
    return undefined
  } finally {
    matcher.end()
  }
}
