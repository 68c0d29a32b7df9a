// What the f64 references are written with. Nothing of this comes from lib/: the ruler is the tests' own.

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)

/** The number that the 16 bits of a bf16 mean. */
export function fromBf16(bits: number): number {
  word[0] = bits * 0x10000
  return float[0]!
}

/** Bits of the nearest bf16, ties to even. */
export function toBf16(value: number): number {
  float[0] = value
  const bits = word[0]!
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40
  const [kept, rest] = [bits >>> 16, bits & 0xffff]
  return rest > 0x8000 || (rest === 0x8000 && kept % 2 === 1) ? kept + 1 : kept
}

/** Sum of n products, and the sum of their absolute values. */
export function dot(
  n: number,
  a: (i: number) => number,
  b: (i: number) => number,
): [value: number, magnitude: number] {
  let [value, magnitude] = [0, 0]
  for (let i = 0; i < n; i++) {
    const term = a(i) * b(i)
    value += term
    magnitude += Math.abs(term)
  }
  return [value, magnitude]
}

export const silu = (x: number): number => x / (1 + Math.exp(-x))
