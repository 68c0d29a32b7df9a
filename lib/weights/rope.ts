import { MoeError } from '../errors.ts'

/** How positions are rotated, complete and valid. */
export type RopeSpec = { theta: number } & (
  | { kind: 'default' }
  /** Positions are divided by the factor. */
  | { kind: 'linear'; factor: number }
  /** theta is multiplied by the factor: MoE++'s own. */
  | { kind: 'ntk'; factor: number }
  /** Frequencies below `low` turns of the original context are divided, those above `high` are kept. */
  | { kind: 'llama3'; factor: number; low: number; high: number; original: number }
  /** arXiv:2309.00071; `attention` multiplies cosines and sines. 0 for `mscaleAllDim`: absent. */
  | {
      kind: 'yarn'
      factor: number
      fast: number
      slow: number
      truncate: boolean
      original: number
      attention: number
      mscaleAllDim: number
    }
  /** arXiv:2402.13753: a divisor for each frequency, one list up to the original context and one above. */
  | {
      kind: 'longrope'
      short: number[]
      long: number[]
      original: number
      shortAttention: number
      longAttention: number
    }
)
/** Kinds of scaling of rotary positions. */
export type RopeKind = RopeSpec['kind']

/** Value j of a head is rotated by position * positionScale * frequencies[j]; cosines and sines are times factor. */
export interface RopeAngles {
  frequencies: number[]
  positionScale: number
  factor: number
}

const clamp = (x: number): number => Math.min(1, Math.max(0, x))

/**
 * What a kind of scaling comes down to for heads of which `dim` values are rotated, as `modeling_rope_utils.py` of
 * transformers has it; longrope by its short list, which holds up to `longestText`.
 *
 * @returns dim / 2 frequencies in radians a position
 */
export function ropeAngles(rope: RopeSpec, dim: number): RopeAngles {
  const base = rope.kind === 'ntk' ? rope.theta * rope.factor : rope.theta
  const plain = Array.from({ length: dim / 2 }, (_, j) => 1 / base ** ((2 * j) / dim))
  const angles = { frequencies: plain, positionScale: 1, factor: 1 }
  switch (rope.kind) {
    case 'default':
    case 'ntk':
      return angles
    case 'linear':
      return { ...angles, positionScale: 1 / rope.factor }
    case 'llama3': {
      const { low, high, factor, original } = rope
      const kept = (f: number) => clamp(((original * f) / (2 * Math.PI) - low) / (high - low))
      return { ...angles, frequencies: plain.map((f) => f * (kept(f) + (1 - kept(f)) / factor)) }
    }
    case 'yarn': {
      const divided = yarnRamp(rope, dim)
      const frequencies = plain.map((f, j) => f * (1 - divided(j) + divided(j) / rope.factor))
      return { ...angles, frequencies, factor: rope.attention }
    }
    case 'longrope': {
      const { short, shortAttention } = rope
      if (short.length !== plain.length)
        throw new MoeError(
          'ERR_MOE_CHECKPOINT',
          `config.json: short_factor must have ${plain.length} numbers, got ${short.length}`,
        )
      return { ...angles, frequencies: plain.map((f, j) => f / short[j]!), factor: shortAttention }
    }
  }
}

/** How much of pair j is divided by the factor: 0 where it turns often within the original context, 1 where rarely. */
function yarnRamp(rope: RopeSpec & { kind: 'yarn' }, dim: number): (j: number) => number {
  const { theta, original, fast, slow, truncate } = rope
  const pairThatTurns = (times: number) =>
    (dim * Math.log(original / (times * 2 * Math.PI))) / (2 * Math.log(theta))
  const [first, last] = [pairThatTurns(fast), pairThatTurns(slow)]
  const low = Math.max(0, truncate ? Math.floor(first) : first)
  const high = Math.min(dim - 1, truncate ? Math.ceil(last) : last)
  return (j) => clamp((j - low) / (high - low || 0.001))
}

/**
 * Tokens of a text beyond which the table does not hold: longrope then changes to its long list, also for what is
 * cached, so that a token's numbers would depend on those after it.
 */
export const longestText = (rope: RopeSpec): number =>
  rope.kind === 'longrope' ? rope.original : Number.POSITIVE_INFINITY
