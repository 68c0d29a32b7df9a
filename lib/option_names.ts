import { MoeError, shown } from './errors.ts'

/** All names that a call's options have; the compiler finds one that is missing here. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true }

/** What others call some of our options, in lower-case letters alone. */
const otherNames: Readonly<Record<string, string>> = {
  maxlength: 'maxNewTokens',
  maxcompletiontokens: 'maxNewTokens',
  maxoutputtokens: 'maxNewTokens',
  npredict: 'maxNewTokens',
  numpredict: 'maxNewTokens',
  stopsequences: 'stop',
  stopstrings: 'stop',
  stopwords: 'stop',
  eostokenid: 'stopIds',
  stoptokenids: 'stopIds',
  dosample: 'temperature',
  temp: 'temperature',
  repeatpenalty: 'repetitionPenalty',
  randomseed: 'seed',
  toplogprobs: 'logprobs',
  outputhiddenstates: 'hiddenStates',
  outputrouterlogits: 'routing',
  expertmask: 'experts',
  expertbias: 'experts',
  abortsignal: 'signal',
  backend: 'device',
  devicemap: 'device',
  gpu: 'device',
  torchdtype: 'dtype',
  contextlength: 'maxTokens',
  contextsize: 'maxTokens',
  maxmodellen: 'maxTokens',
  maxseqlen: 'maxTokens',
  nctx: 'maxTokens',
  numctx: 'maxTokens',
}

const letters = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '')

/** Letters to insert, leave out or change to make one word of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1]! + Number(a[i - 1] !== b[j - 1])
      next.push(Math.min(changed, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row.at(-1)!
}

/** The one of `names` that somebody who writes `name` probably means. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  if (name.length < 2 || name.length > 40) return undefined
  const word = letters(name)
  const other = Object.hasOwn(otherNames, word) ? otherNames[word]! : undefined
  if (other !== undefined && names.includes(other)) return other
  const most = Math.max(1, Math.floor(word.length / 3))
  const near = names
    .map((one) => ({ one, far: distance(word, letters(one)) }))
    .sort((a, b) => a.far - b.far)[0]
  return near && near.far <= most ? near.one : undefined
}

/** Throws ERR_MOE_OPTION for a name that is none of an option, with the one that was probably meant. */
export function checkNames(
  where: string,
  options: object,
  known: { readonly [name: string]: true },
): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(known, name)) continue
    const names = Object.keys(known)
    const near = nearest(name, names)
    const hint = near ? `did you mean ${near}?` : `there are ${names.join(', ')}`
    throw new MoeError(
      'ERR_MOE_OPTION',
      `${where}: option ${shown(name)} must be absent, since there is no such option; ${hint}`,
    )
  }
}
