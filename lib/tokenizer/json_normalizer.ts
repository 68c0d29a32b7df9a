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
  const rule = (text: string): string => map.shortest(text, 0)?.text ?? text
  const isRule = (text: string): boolean => map.shortest(text, 0) !== undefined
  const ruled = [...Array(128).keys()].map((unit) => String.fromCharCode(unit)).filter(isRule)
  const change = (grapheme: string): string =>
    Buffer.byteLength(grapheme) < 6 && isRule(grapheme)
      ? rule(grapheme)
      : Array.from(grapheme, rule).join('')
  return function* (text) {
    let out = ''
    let width = 64
    for (let at = 0, count = 0; at < text.length; count++) {
      // Before another ASCII character, one is a grapheme, but for a line end of two.
      const ascii = asciiRun(text, at)
      if (ascii > at) {
        let part = text.slice(at, ascii)
        if (ruled.some((character) => part.includes(character)))
          part = part.replace(/\r\n|[\s\S]/g, rule)
        out += part
        at = ascii
      } else {
        // The last grapheme of a window may go on behind it.
        const all = Array.from(graphemes.segment(text.slice(at, at + width)), (s) => s.segment)
        const whole = at + width >= text.length ? all : all.slice(0, -1)
        out += whole.map(change).join('')
        at += whole.reduce((sum, { length }) => sum + length, 0)
        width = whole.length > 0 ? 64 : 2 * width
      }
      if (count % 8 === 7) yield
    }
    return out
  }
}

/** End of the ASCII at `at`, without a last character that something else may belong to. */
function asciiRun(text: string, at: number): number {
  let end = at
  const limit = Math.min(text.length, at + 4096)
  while (end < limit && text.charCodeAt(end) < 0x80) end++
  if (end === text.length) return end
  return Math.max(at, text.endsWith('\r\n', end) ? end - 2 : end - 1)
}

/** Replaces what a pattern matches, as it is found. */
const replaced = (pattern: RegExp, content: string): Normalize =>
  function* (text) {
    let out = ''
    for (let at = 0, count = 1; ; count++) {
      pattern.lastIndex = at // each time: others use it while this one pauses
      const match = pattern.exec(text)
      if (!match) return out + text.slice(at)
      const end = match.index + match[0].length
      out += text.slice(at, match.index) + content
      if (end === match.index) return out + text.slice(end).replace(pattern, () => content)
      at = end
      if (count % 64 === 0) yield
    }
  }

/** JavaScript's has another sigma at the end of words. */
const lowercase = (text: string): string =>
  text
    .split('Σ')
    .map((part) => part.toLowerCase())
    .join('σ')

/** White space is Unicode's: it has U+0085 and lacks U+FEFF. */
function strip(text: string, left: boolean, right: boolean): string {
  const isSpace = (at: number) => /\p{White_Space}/u.test(text[at] ?? '')
  let [start, end] = [0, text.length]
  while (left && start < end && isSpace(start)) start++
  while (right && end > start && isSpace(end - 1)) end--
  return text.slice(start, end)
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
      const content = String(json.content ?? '')
      if (typeof from === 'string' && from.length === 1)
        return windowed(
          (part) => part.split(from).join(content), // replaceAll would build a rope
          () => true,
        )
      // The library turns an Oniguruma pattern into one of JavaScript.
      const { pattern } = libraryParts({ normalizer: json }).normalizer as { pattern: RegExp }
      return replaced(pattern, content)
    }
    case 'Lowercase':
      return windowed(lowercase, isAscii)
    case 'Strip':
      // biome-ignore lint/correctness/useYield: quick
      return function* (text) {
        return strip(text, json.strip_left === true, json.strip_right === true)
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
  const before = json.type === 'BertNormalizer' && json.lowercase === true ? lowercase : undefined
  // biome-ignore lint/correctness/useYield: the library knows no steps
  return function* (text) {
    return whole.normalize(before?.(text) ?? text)
  }
}
