import type { ExpertKind } from '../ops/index.ts'

/** What a kernel's size depends on. */
export interface ModelShape {
  hidden: number
  expertSize: number
  kinds: ExpertKind[]
  topK: number
  heads: number
  keyValueHeads: number
  headSize: number
  vocab: number
  /** `softmax` is over the chosen experts, `scores` over all. */
  router: 'attention' | 'residual' | 'softmax' | 'scores'
}

const ffn = (n: number): ExpertKind[] => Array<ExpertKind>(n).fill('ffn')

/** The published models; `tiny` is for tests. */
export const modelShapes: Record<string, ModelShape> = {
  yuan: {
    ...{ hidden: 2048, expertSize: 8192, kinds: ffn(32), topK: 2, router: 'attention' },
    ...{ heads: 16, keyValueHeads: 16, headSize: 256, vocab: 135040 },
  },
  moepp: {
    ...{ hidden: 1536, expertSize: 4096, topK: 2, router: 'residual' },
    kinds: [...ffn(16), 'constant', 'constant', 'copy', 'zero'],
    ...{ heads: 16, keyValueHeads: 16, headSize: 96, vocab: 65536 },
  },
  mixtral: {
    ...{ hidden: 4096, expertSize: 14336, kinds: ffn(8), topK: 2, router: 'softmax' },
    ...{ heads: 32, keyValueHeads: 8, headSize: 128, vocab: 32000 },
  },
  qwen3_moe: {
    ...{ hidden: 2048, expertSize: 768, kinds: ffn(128), topK: 8, router: 'softmax' },
    ...{ heads: 32, keyValueHeads: 4, headSize: 128, vocab: 151936 },
  },
  olmoe: {
    ...{ hidden: 2048, expertSize: 1024, kinds: ffn(64), topK: 8, router: 'scores' },
    ...{ heads: 16, keyValueHeads: 16, headSize: 128, vocab: 50304 },
  },
  qwen2_moe: {
    ...{ hidden: 2048, expertSize: 1408, kinds: ffn(60), topK: 4, router: 'scores' },
    ...{ heads: 16, keyValueHeads: 16, headSize: 128, vocab: 151936 },
  },
  deepseek: {
    ...{ hidden: 2048, expertSize: 1408, kinds: ffn(64), topK: 6, router: 'scores' },
    ...{ heads: 16, keyValueHeads: 16, headSize: 128, vocab: 102400 },
  },
  gpt_oss: {
    ...{ hidden: 2880, expertSize: 2880, kinds: ffn(32), topK: 4, router: 'softmax' },
    ...{ heads: 64, keyValueHeads: 8, headSize: 64, vocab: 201088 },
  },
  granitemoe: {
    ...{ hidden: 1024, expertSize: 512, kinds: ffn(32), topK: 8, router: 'softmax' },
    ...{ heads: 16, keyValueHeads: 8, headSize: 64, vocab: 49155 },
  },
  llama_moe: {
    ...{ hidden: 4096, expertSize: 688, kinds: ffn(16), topK: 4, router: 'softmax' },
    ...{ heads: 32, keyValueHeads: 32, headSize: 128, vocab: 32000 },
  },
  phimoe: {
    ...{ hidden: 4096, expertSize: 6400, kinds: ffn(16), topK: 2, router: 'softmax' },
    ...{ heads: 32, keyValueHeads: 8, headSize: 128, vocab: 32064 },
  },
  tiny: {
    ...{ hidden: 64, expertSize: 96, topK: 2, router: 'residual' },
    kinds: [...ffn(4), 'constant', 'copy', 'zero'],
    ...{ heads: 2, keyValueHeads: 1, headSize: 32, vocab: 512 },
  },
}

export const routings = ['uniform', 'zipf', 'one', 'empty'] as const
export type RoutingName = (typeof routings)[number]

/** Numbers in [0, 1) that are the same in every run. */
export function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Ids [T, K] of distinct experts, drawn with these weights. */
export function drawIds(
  weights: readonly number[],
  tokens: number,
  topK: number,
  random: () => number,
): Int32Array {
  const ids = new Int32Array(tokens * topK)
  for (let t = 0; t < tokens; t++) {
    const left = [...weights]
    for (let k = 0; k < topK; k++) {
      let at = random() * left.reduce((a, b) => a + b)
      let e = 0
      for (at -= left[0]!; at >= 0 && e < left.length - 1; at -= left[e]!) e++
      while (left[e] === 0) e = (e + 1) % left.length // rounding left nothing over
      left[e] = 0
      ids[t * topK + k] = e
    }
  }
  return ids
}

/**
 * Ids [T, K] of distinct experts: `uniform`; `zipf`, whose expert of rank r has a share of 1 / r; `one`, all
 * tokens at the same K FFN experts; `empty`, a quarter of the experts without tokens.
 */
export function chooseIds(
  name: RoutingName,
  tokens: number,
  kinds: readonly ExpertKind[],
  topK: number,
  seed: number,
): Int32Array {
  const random = randomNumbers(seed)
  const experts = kinds.length
  const ffn = kinds.filter((kind) => kind === 'ffn').length // they come first
  const used = name === 'empty' ? Math.max(topK, Math.ceil(0.75 * experts)) : experts
  const shift = Math.floor(random() * (name === 'one' ? ffn - topK + 1 : experts))
  const weights = Array.from({ length: used }, (_, e) => (name === 'zipf' ? 1 / (e + 1) : 1))
  const ids =
    name === 'one'
      ? Int32Array.from({ length: tokens * topK }, (_, slot) => slot % topK)
      : drawIds(weights, tokens, topK, random)
  return ids.map((e) => (e + shift) % experts)
}

export interface Placed {
  /** [T, K] */
  rows: Int32Array
  /** [G + 1] */
  offsets: Int32Array
  /** Rows that enter the grouped GEMM. */
  routed: number
  /** FFN experts that have rows. */
  distinct: number
}

/** Where the slots go when rows are grouped by FFN expert: what `topK` gives. */
export function placeSlots(ids: Int32Array, kinds: readonly ExpertKind[]): Placed {
  const rows = new Int32Array(ids.length).fill(-1)
  const offsets = [0]
  let next = 0
  let distinct = 0
  for (const [e, kind] of kinds.entries()) {
    if (kind !== 'ffn') continue
    for (const [slot, id] of ids.entries()) if (id === e) rows[slot] = next++
    if (next > offsets.at(-1)!) distinct++
    offsets.push(next)
  }
  return { rows, offsets: Int32Array.from(offsets), routed: next, distinct }
}
