import vm from 'node:vm'
import { MoeError } from '../errors.ts'
import type { Json } from '../weights/json.ts'

// JavaScript's regular expressions take exponential time for some patterns, and a tokenizer.json brings its own. Only
// `vm` can end one that runs: its code here is one constant call, and nothing of a file is code.
const room = vm.createContext({ work: undefined as (() => void) | undefined })
const call = new vm.Script('work()')

/** What every split of the GPT-4 kind ends with. */
const rest = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const suffix = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const word = '[^\\r\\n\\p{L}\\p{N}]?'

/** Published patterns, which take time in proportion to the text and need no watch. */
const published = new Set([
  // cl100k, Llama 3
  `${suffix}|${word}\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${rest}`,
  // Qwen2, Qwen3
  `${suffix}|${word}\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${rest}`,
  // o200k, gpt-oss
  `${word}${upper}*${lower}+${suffix}?|${word}${upper}+${lower}*${suffix}?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${rest}`,
  // DeepSeek-V3
  '\\p{N}{1,3}',
  '[一-龥぀-ゟ゠-ヿ]+',
  `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${rest}`,
])

/** Units of all patterns of a file together: compiling one cannot be ended. Published files have less than 1000. */
const maxPatternLength = 10_000
/** Work between two uses of `vm`, each of which takes some 0.1 ms. */
const sliceMs = 6

/** Milliseconds that a file's patterns may still take. */
export interface Time {
  left: number
}

/** Hundreds of times what published patterns take, on a machine that does other things, too. */
export const timeFor = (length: number): Time => ({ left: 2000 + length / 50 })

/** @throws {MoeError} ERR_MOE_CHECKPOINT when there is no time left */
export function within<T>(time: Time, work: () => T): T {
  const started = performance.now()
  const timeout = Math.max(1, Math.ceil(time.left))
  let result: { value: T } | undefined
  room.work = () => {
    result = { value: work() }
  }
  try {
    call.runInContext(room, { timeout })
    return result!.value
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw cause
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `tokenizer.json: regular expressions must end in time, got one that had not after ${timeout} ms`,
      { cause },
    )
  } finally {
    room.work = undefined
    time.left -= performance.now() - started
  }
}

/** The steps of `steps`, taken within the time; where there is nothing, it may pause. */
export function* stepsWithin<T, R>(time: Time, steps: Iterator<T, R>): Generator<T, R, void> {
  for (;;) {
    const taken: T[] = []
    const end = within(time, () => {
      const until = performance.now() + sliceMs
      for (;;) {
        const step = steps.next()
        if (step.done) return step
        taken.push(step.value)
        if (step.value === undefined && performance.now() > until) return undefined
      }
    })
    for (const value of taken) yield value
    if (end) return end.value
  }
}

/**
 * Whether a part of a tokenizer.json brings patterns that are not known.
 *
 * @throws {RangeError} for patterns that would take long to compile
 */
export function hasPatterns(part: Json | null): boolean {
  let length = 0
  JSON.stringify(part, (key, value) => {
    if (key === 'Regex' && typeof value === 'string' && !published.has(value))
      length += value.length
    return value
  })
  if (length > maxPatternLength)
    throw new RangeError(`regular expressions of ${length} units, more than ${maxPatternLength}`)
  return length > 0
}
