import type { ConfigReader } from './config.ts'
import { type RopeKey, ropeObject } from './rope.ts'

export const partialKey = 'partial_rotary_factor'

/**
 * How many of a head's values are rotated, the first ones. Files of transformers 5 have the part among the rotation's
 * settings.
 *
 * @param fallback how many where the file says no part
 */
export function readRotaryDim(
  c: ConfigReader<RopeKey | typeof partialKey>,
  headSize: number,
  fallback: number,
): number {
  const { path, json } = ropeObject(c)
  const own = { [partialKey]: json[partialKey] }
  const inner = c
    .within(path, own, { used: [partialKey] })
    .number(partialKey, fallback / headSize, 0, 1)
  const part = c.number(partialKey, inner, 0, 1)
  if (own[partialKey] !== undefined && part !== inner)
    c.unsupported(partialKey, `the same as in ${path}, ${inner}`)
  const said = own[partialKey] ?? c.get(partialKey)
  const dim = Math.trunc(said === undefined ? fallback : headSize * part)
  if (dim < 2 || dim % 2 !== 0)
    c.invalid(partialKey, `a part of heads of ${headSize} that is even, and not ${dim} values`)
  return dim
}

/** The same where a file may say it as `rotary_dim`, the number of values; where it has both, they agree. */
export function readRotaryValues(
  c: ConfigReader<RopeKey | typeof partialKey | 'rotary_dim'>,
  headSize: number,
  fallback: number,
): number {
  if (c.get('rotary_dim') === undefined) return readRotaryDim(c, headSize, fallback)
  const said = c.int('rotary_dim', undefined, { max: headSize })
  if (said % 2 !== 0) c.invalid('rotary_dim', 'even')
  const dim = readRotaryDim(c, headSize, said)
  if (dim !== said) c.unsupported('rotary_dim', `${partialKey} of head_dim, ${dim}`)
  return dim
}
