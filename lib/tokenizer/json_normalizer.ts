import type { Json } from '../weights/json.ts'
import { Charsmap } from './charsmap.ts'
import { libraryParts } from './json_library.ts'
import type { Steps } from './slices.ts'

export type Normalize = (text: string) => Steps<string>

const window = 1 << 14

/** Applies `change` to windows that may be cut before any unit that `before` accepts. */
const windowed = (change: (part: string) => string, before: (unit: number) => boolean): Normalize =>
  function* (text) {
    let out = ''
    for (let start = 0; start < text.length; ) {
      let end = Math.min(text.length, start + window)
      while (end < text.length && !before(text.charCodeAt(end))) end++
      out += change(text.slice(start, end))
      start = end
      yield
    }
    return out
  }

const isAscii = (unit: number): boolean => unit < 0x80
const graphemes = new Intl.Segmenter('und', { granularity: 'grapheme' })

/**
 * The `tokenizers` library applies a character map to whole graphemes of up to five bytes or else to single
 * characters, and takes the shortest rule: not what SentencePiece does.
 */
function precompiled(map: Charsmap): Normalize {
  const rule = (text: string) => map.shortest(text, 0)?.text
  const change = (part: string): string =>
    // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII
    (/^[\x00-\x7f]*$/.test(part)
      ? (part.match(/\r\n|[\s\S]/g) ?? [])
      : Array.from(graphemes.segment(part), ({ segment }) => segment)
    )
      .map((grapheme) => {
        const whole = Buffer.byteLength(grapheme) < 6 ? rule(grapheme) : undefined
        return whole ?? [...grapheme].map((character) => rule(character) ?? character).join('')
      })
      .join('')
  // No grapheme has a break inside of it that is followed by one of these.
  return windowed(change, (unit) => isAscii(unit) && unit > 0x20)
}

/** The `normalizer` of a tokenizer.json, in steps; kinds that are rare in language models in one. */
export function normalizerOf(json: Json | null): Normalize {
  if (json === null)
    // biome-ignore lint/correctness/useYield: nothing to do
    return function* (text) {
      return text
    }
  switch (json.type) {
    case 'Sequence': {
      const all = (json.normalizers as Json[]).map(normalizerOf)
      return function* (text) {
        let out = text
        for (const normalize of all) out = yield* normalize(out)
        return out
      }
    }
    case 'Prepend':
      // biome-ignore lint/correctness/useYield: quick
      return function* (text) {
        return text === '' ? '' : `${json.prepend}${text}`
      }
    case 'Replace': {
      const from = (json.pattern as Json).String
      if (typeof from !== 'string' || from.length !== 1) break
      return windowed(
        (part) => part.replaceAll(from, () => String(json.content)),
        () => true,
      )
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return windowed((part) => part.normalize(json.type as 'NFC'), isAscii)
    case 'Precompiled':
      if (!json.precompiled_charsmap) return normalizerOf(null)
      return precompiled(new Charsmap(Buffer.from(String(json.precompiled_charsmap), 'base64')))
  }
  const whole = libraryParts({ normalizer: json }).normalizer!
  // biome-ignore lint/correctness/useYield: the library knows no steps
  return function* (text) {
    return whole.normalize(text)
  }
}
