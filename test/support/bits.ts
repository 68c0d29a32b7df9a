import { createHash } from 'node:crypto'
import type { ForwardResult, Model } from '../../lib/index.ts'
import { range } from './golden.ts'

export const everything = { logits: 'all', hiddenStates: true, routing: true } as const

/** Ids that any of the small checkpoints knows. */
export const text = (n: number, seed: number): number[] =>
  range(n).map((i) => (i * i * 7 + i * seed + 3) % 97)

/** Every array of some results, which follow each other in one sequence. */
function arrays(pieces: ForwardResult[]): Map<string, (Float32Array | Int32Array)[]> {
  const all = new Map<string, (Float32Array | Int32Array)[]>()
  const add = (name: string, array: Float32Array | Int32Array) =>
    all.set(name, [...(all.get(name) ?? []), array])
  for (const { logits, hiddenStates = [], routing = [] } of pieces) {
    add('logits', logits)
    for (const [l, layer] of hiddenStates.entries()) add(`layer ${l}: output`, layer)
    for (const [l, layer] of routing.entries())
      for (const name of ['expertIds', 'weights', 'logits'] as const)
        if (layer) add(`layer ${l}: ${name}`, layer[name])
  }
  return all
}

/** A digest of each array of a result, or of the pieces of one: equal where every bit is. */
export function bits(...pieces: ForwardResult[]): Record<string, string> {
  const digest = (parts: (Float32Array | Int32Array)[]): string => {
    const hash = createHash('sha1')
    for (const part of parts) hash.update(part)
    return hash.digest('hex')
  }
  return Object.fromEntries([...arrays(pieces)].map(([name, parts]) => [name, digest(parts)]))
}

/** The sequence in pieces that begin at `cuts`. */
export async function inPieces(
  model: Model,
  ids: number[],
  cuts: number[],
): Promise<Record<string, string>> {
  using sequence = model.sequence()
  const pieces: ForwardResult[] = []
  for (const [i, from] of cuts.entries())
    pieces.push(await sequence.forward(ids.slice(from, cuts[i + 1]), everything))
  return bits(...pieces)
}

/** One token at a time, as the sequence at `place` of a batch that takes as many steps. */
export async function inBatch(
  model: Model,
  ids: number[],
  { size, place }: { size: number; place: number },
): Promise<Record<string, string>> {
  const sequences = range(size).map(() => model.sequence())
  const pieces: ForwardResult[] = []
  for (const [t, id] of ids.entries()) {
    const step = await Promise.all(
      sequences.map((s, i) => s.forward([i === place ? id : (t * i) % 97], everything)),
    )
    pieces.push(step[place]!)
  }
  for (const sequence of sequences) sequence.dispose()
  return bits(...pieces)
}
