import { badOption } from '../errors.ts'
import { numberOption, readList } from '../options.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import type { GenerateOptions } from './completion.ts'

/** What ends a text. */
export interface Ends {
  stops: readonly string[]
  /** What is told of each id that ends it: itself, or how the caller wrote it. */
  stopIds: ReadonlyMap<number, string | number>
  /** The ids are also those that the model ends texts by. */
  ownEnds: boolean
}

/** What a model has for it. */
interface Model {
  tokenizer: Tokenizer | undefined
  vocabSize: number
  stopIds: readonly number[]
  /** Of the checkpoint. */
  stop: readonly string[] | undefined
}

function readStops(name: string, stop: unknown, hasTokenizer: boolean): string[] {
  const bad = () => badOption('generate', name, 'a list of non-empty strings', stop)
  const one = (text: unknown) => (typeof text === 'string' && text !== '' ? text : bad())
  const stops = typeof stop === 'string' ? [one(stop)] : readList(stop, one, bad)
  if (stops.length > 0 && !hasTokenizer)
    badOption('generate', name, 'absent or [], since this model has no tokenizer', stop)
  return stops
}

function readStopIds(
  given: unknown,
  { vocabSize, stopIds: own }: Model,
): { ids: readonly number[]; ownEnds: boolean } {
  if (given === undefined) return { ids: own, ownEnds: true }
  const range = { min: 0, max: vocabSize - 1, whole: true }
  const bad = () => badOption('generate', 'stopIds', 'a list of token ids', given)
  const read = (ids: unknown) => readList(ids, (id) => numberOption('stopIds', id, range), bad)
  if (Array.isArray(given)) return { ids: read(given), ownEnds: false }
  if (typeof given !== 'object' || given === null) return bad()
  const { also } = given as { also?: unknown }
  return { ids: [...own, ...read(also)], ownEnds: true }
}

/** Reads `stop` and `stopIds`. Special tokens that are given as text end it by their id: they have none to be found. */
export function readEnds({ stop, stopIds }: GenerateOptions, model: Model): Ends {
  const { tokenizer } = model
  const hasTokenizer = tokenizer !== undefined
  const stops =
    stop === undefined
      ? readStops('stop (here stop_strings of the checkpoint)', model.stop ?? [], hasTokenizer)
      : readStops('stop', stop, hasTokenizer)
  const { ids, ownEnds } = readStopIds(stopIds, model)
  const ends = new Map<number, string | number>()
  for (const stop of stops) {
    const id = tokenizer?.specialIds.get(stop)
    if (id !== undefined) ends.set(id, stop)
  }
  for (const id of ids) ends.set(id, id)
  return { stops, stopIds: ends, ownEnds }
}
