import type { Json } from '../weights/json.ts'
import { byteLetters } from './bytes.ts'
import { libraryParts } from './json_library.ts'

/**
 * Parts of a text that the model encodes one by one; undefined is a place to pause.
 *
 * @param first it is the very start of what was given
 */
export type PreTokenize = (text: string, first: boolean) => Iterable<string | undefined>

const pauseEvery = 64

/** What becomes of a pattern's matches: names as tokenizer.json has them, lower case. */
const behaviors = [
  'isolated',
  'removed',
  'matches',
  'mergedwithprevious',
  'mergedwithnext',
  'contiguous',
] as const
type Behavior = (typeof behaviors)[number]

/** Parts in and between the matches of a pattern, as they are found. */
const splitAt = (pattern: RegExp, behavior: Behavior): PreTokenize =>
  function* (text) {
    let given = 0
    let run = 0 // end of the matches that stand side by side
    for (let at = 0, count = 1; ; count++) {
      pattern.lastIndex = at // each time: others use it while this one pauses
      const match = pattern.exec(text)
      const start = match?.index ?? text.length
      const end = start + (match?.[0].length ?? 0)
      if (behavior === 'mergedwithprevious') {
        if (end > given) yield text.slice(given, end)
      } else if (behavior === 'contiguous' && match && start === run && run > given) {
        run = end
      } else {
        if (run > given) yield text.slice(given, run)
        given = Math.max(given, run)
        if (start > given && behavior !== 'matches') yield text.slice(given, start)
        if (behavior === 'contiguous') [given, run] = [start, end]
        if (end > start && (behavior === 'isolated' || behavior === 'matches'))
          yield text.slice(start, end)
      }
      if (!match) {
        if (behavior === 'mergedwithnext' && text.length > start) yield text.slice(start)
        return
      }
      if (behavior === 'mergedwithnext') given = start
      else if (behavior !== 'contiguous') given = end
      at = end > start ? end : end + ((text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1)
      if (count % pauseEvery === 0) yield
    }
  }

// White space is Unicode's here, where JavaScript's \s has U+FEFF and lacks U+0085.
const gpt2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu
const whitespace = /\p{White_Space}+/gu
const wordsOrSigns =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu

const punctuation = /[!-/:-@[-`{-~\p{P}]/gu

function behaviorOf({ type, behavior = 'isolated' }: Json): Behavior {
  const name = String(behavior).toLowerCase()
  const known = behaviors.find((one) => one === name)
  if (!known) throw new RangeError(`pre_tokenizer ${type} with behavior ${name}`)
  return known
}

function byteLevel(json: Json): PreTokenize {
  const parts = json.use_regex === false ? undefined : splitAt(gpt2, 'isolated')
  return function* (text, first) {
    const spaced = json.add_prefix_space === true && !text.startsWith(' ') ? ` ${text}` : text
    for (const part of parts?.(spaced, first) ?? [spaced]) {
      if (part === undefined) yield
      else {
        const bytes = Buffer.from(part)
        let letters = ''
        for (let i = 0; i < bytes.length; i++) {
          letters += byteLetters[bytes[i]!]!
          if (i % 65536 === 65535) yield
        }
        yield letters
      }
    }
  }
}

function metaspace(json: Json): PreTokenize {
  const symbol = typeof json.replacement === 'string' ? json.replacement : '\u2581'
  const code = `\\u{${symbol.codePointAt(0)!.toString(16)}}`
  const scheme = json.prepend_scheme ?? (json.add_prefix_space === false ? 'never' : 'always')
  const words = splitAt(new RegExp(`${code}?[^${code}]+|${code}`, 'gu'), 'matches')
  return function* (text, first) {
    let spelled = text.replace(/ /g, () => symbol)
    const prepends = scheme === 'always' || (scheme === 'first' && first)
    if (prepends && !spelled.startsWith(symbol)) spelled = symbol + spelled
    if (json.split === false) yield spelled
    else yield* words(spelled, first)
  }
}

function sequence(stages: readonly PreTokenize[]): PreTokenize {
  const [stage, ...rest] = stages
  if (!stage) return (text) => [text]
  if (rest.length === 0) return stage
  const inner = sequence(rest)
  return function* (text, first) {
    let start = first
    for (const part of stage(text, first)) {
      if (part === undefined) yield
      else {
        yield* inner(part, start)
        start = false
      }
    }
  }
}

/** The `pre_tokenizer` of a tokenizer.json, lazily; kinds that are rare in language models at once. */
export function preTokenizerOf(json: Json | null): PreTokenize {
  if (json === null) return (text) => [text]
  switch (json.type) {
    case 'Sequence':
      return sequence((json.pretokenizers as Json[]).map(preTokenizerOf))
    case 'ByteLevel':
      return byteLevel(json)
    case 'Metaspace':
      return metaspace(json)
    case 'Digits':
      return splitAt(json.individual_digits === true ? /\p{N}/gu : /\p{N}+/gu, 'isolated')
    case 'WhitespaceSplit':
      return splitAt(whitespace, 'removed')
    case 'Whitespace':
      return splitAt(wordsOrSigns, 'matches')
    case 'Punctuation':
      return splitAt(punctuation, behaviorOf(json))
    case 'BertPreTokenizer':
      return sequence([splitAt(whitespace, 'removed'), splitAt(punctuation, 'isolated')])
    case 'FixedLength': {
      const { length } = json
      if (!(Number.isInteger(length) && (length as number) > 0 && (length as number) < 65536))
        throw new RangeError(`pre_tokenizer FixedLength of length ${length}`)
      return splitAt(new RegExp(`[^]{1,${length}}`, 'gu'), 'matches')
    }
    case 'Split': {
      const behavior = behaviorOf(json)
      const inverted = json.invert === true && behavior !== 'isolated'
      if (inverted && behavior !== 'removed')
        throw new RangeError(`pre_tokenizer Split with behavior ${behavior}, inverted`)
      // The library turns the Oniguruma pattern into one of JavaScript.
      const { pattern } = libraryParts({ pre_tokenizer: json }).pre_tokenizer as {
        pattern: RegExp
      }
      return splitAt(pattern, inverted ? 'matches' : behavior)
    }
  }
  const whole = libraryParts({ pre_tokenizer: json }).pre_tokenizer!
  return (text, first) => whole.pre_tokenize(text, { section_index: first ? 0 : 1 })
}
