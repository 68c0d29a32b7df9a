import type { Json } from '../weights/json.ts'
import { byteLetters } from './bytes.ts'
import { libraryParts } from './json_library.ts'

/** Changes the tokens of a text on their way to it; at the end they are joined. */
type Decode = (tokens: string[]) => string[]

// Bytes that are no text become U+FFFD, and U+FEFF stays.
const lossy = new TextDecoder('utf-8', { ignoreBOM: true })
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true })

const byteOf = new Map(byteLetters.map((letter, byte) => [letter, byte]))

/** A token with a character that stands for no byte is text already, such as most added ones. */
const byteLevel: Decode = (tokens) => {
  const bytes = tokens.map((token) => {
    const read = Array.from(token, (letter) => byteOf.get(letter))
    return read.includes(undefined) ? Buffer.from(token) : Buffer.from(read as number[])
  })
  return [lossy.decode(Buffer.concat(bytes))]
}

/** Bytes in a row that are no text as a whole are U+FFFD each. */
const byteFallback: Decode = (tokens) => {
  const out: string[] = []
  let bytes: number[] = []
  const flush = (): void => {
    if (bytes.length === 0) return
    try {
      out.push(strict.decode(Uint8Array.from(bytes)))
    } catch {
      out.push(...bytes.map(() => '\ufffd'))
    }
    bytes = []
  }
  for (const token of tokens) {
    const [, hex] = /^<0x([0-9A-Fa-f]{2})>$/.exec(token) ?? []
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16))
    else {
      flush()
      out.push(token)
    }
  }
  flush()
  return out
}

/** Nothing stands for a space at the start of the first token, unless none is put there either. */
function metaspace(json: Json): Decode {
  const symbol = typeof json.replacement === 'string' ? json.replacement : '\u2581'
  const scheme = json.prepend_scheme ?? (json.add_prefix_space === false ? 'never' : 'always')
  return (tokens) =>
    tokens.map((token, i) => token.replaceAll(symbol, i === 0 && scheme !== 'never' ? '' : ' '))
}

function strip({ content, start = 0, stop = 0 }: Json): Decode {
  const most = (characters: string[], limit: unknown): number => {
    const other = characters.findIndex((character) => character !== content)
    return Math.min(other < 0 ? characters.length : other, limit as number)
  }
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token)
      const first = most(characters, start)
      return characters
        .slice(first, characters.length - most(characters.slice(first).reverse(), stop))
        .join('')
    })
}

/**
 * The `decoder` of a tokenizer.json. The library's differ from the original in Metaspace without a prefix, in text
 * among ByteLevel's tokens and in bytes that are no text.
 *
 * @throws {RangeError} for a kind that is not read
 */
export function decoderOf(json: Json): Decode {
  switch (json.type) {
    case 'Sequence': {
      const all = (json.decoders as Json[]).map(decoderOf)
      return (tokens) => all.reduce((now, decode) => decode(now), tokens)
    }
    case 'ByteLevel':
      return byteLevel
    case 'ByteFallback':
      return byteFallback
    case 'Metaspace':
      return metaspace(json)
    case 'Fuse':
      return (tokens) => [tokens.join('')]
    case 'Strip':
      return strip(json)
    case 'Replace': {
      const content = String(json.content ?? '')
      const { pattern } = libraryParts({ decoder: json }).decoder as { pattern?: string | RegExp }
      if (!pattern) break
      return (tokens) => tokens.map((token) => token.replaceAll(pattern, () => content))
    }
    case 'BPEDecoder':
    case 'WordPiece': {
      const whole = libraryParts({ decoder: json }).decoder as unknown as { decode_chain: Decode }
      return (tokens) => whole.decode_chain(tokens)
    }
  }
  throw new RangeError(`decoder ${json.type}`)
}
