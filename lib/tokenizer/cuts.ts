const isLowSurrogate = (unit: number): boolean => (unit & 0xfc00) === 0xdc00

const hashed = (a: number, b: number): number => {
  const hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)
  return hash ^ (hash >>> 15)
}

/**
 * Where a text may be cut without changing its pieces: between two units that stand side by side in no piece.
 * What is left and right of such a place never meets, neither in a merge nor on a path.
 */
export class Cuts {
  /** One bit for each hash of a pair. A collision costs a cut, never a wrong one. */
  readonly #bits: Uint8Array
  readonly #mask: number

  constructor(pieces: readonly string[]) {
    const units = pieces.reduce((sum, piece) => sum + piece.length, 0)
    const bits = 2 ** Math.min(26, Math.ceil(Math.log2(32 * (units + 8))))
    this.#mask = bits - 1
    this.#bits = new Uint8Array(bits / 8)
    for (const piece of pieces)
      for (let i = 1; i < piece.length; i++) {
        const bit = hashed(piece.charCodeAt(i - 1), piece.charCodeAt(i)) & this.#mask
        this.#bits[bit >> 3]! |= 1 << (bit & 7)
      }
  }

  /** May `text` be cut before its unit at `at`? */
  allows(text: string, at: number): boolean {
    const unit = text.charCodeAt(at)
    if (isLowSurrogate(unit)) return false
    const bit = hashed(text.charCodeAt(at - 1), unit) & this.#mask
    return (this.#bits[bit >> 3]! & (1 << (bit & 7))) === 0
  }
}
