const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)

/** What `length` units of a text become. */
interface Rule {
  text: string
  length: number
}

/**
 * SentencePiece's `precompiled_charsmap`: the size of a double-array trie (Darts-clone), the trie over UTF-8,
 * and the replacements it points into, each ended by a zero byte.
 */
export class Charsmap {
  readonly #units: Uint32Array
  readonly #texts: Uint8Array
  readonly #decoded = new Map<number, string>()
  /** A rule ends where the last step went. */
  #hasLeaf = false

  /** Throws RangeError when the blob is damaged. */
  constructor(blob: Uint8Array) {
    const size =
      blob.length > 4 ? new DataView(blob.buffer, blob.byteOffset).getUint32(0, true) : -1
    if (size < 4 || size % 4 !== 0 || 4 + size >= blob.length)
      throw new RangeError('a truncated character map')
    this.#units = new Uint32Array(new Uint8Array(blob.subarray(4, 4 + size)).buffer)
    this.#texts = blob.subarray(4 + size)
  }

  /** The longest rule for what `text` has at `at`, and how many units it is for; undefined: none. */
  longest(text: string, at: number): Rule | undefined {
    return this.#find(text, at, false)
  }

  /** The shortest one. */
  shortest(text: string, at: number): Rule | undefined {
    return this.#find(text, at, true)
  }

  #find(text: string, at: number, shortest: boolean): Rule | undefined {
    let value = -1
    let length = 0
    let node = offsetOf(this.#units[0]!)
    for (let i = at; i < text.length; ) {
      const code = text.codePointAt(i)!
      i += code > 0xffff ? 2 : 1
      if (code < 0x80) node = this.#step(node, code)
      else {
        if (code < 0x800) node = this.#step(node, 0xc0 | (code >> 6))
        else {
          if (code < 0x10000) node = this.#step(node, 0xe0 | (code >> 12))
          else {
            node = this.#step(node, 0xf0 | (code >> 18))
            node = this.#step(node, 0x80 | ((code >> 12) & 63))
          }
          node = this.#step(node, 0x80 | ((code >> 6) & 63))
        }
        node = this.#step(node, 0x80 | (code & 63))
      }
      if (node < 0) break
      if (!this.#hasLeaf) continue
      value = this.#units[node]! & 0x7fffffff
      length = i - at
      if (shortest) break
    }
    return length > 0 ? { text: this.#text(value), length } : undefined
  }

  /** The place behind one more byte; -1: no rule goes on like that. */
  #step(node: number, byte: number): number {
    if (node < 0) return -1
    const unit = this.#units[node ^ byte]
    if (unit === undefined || (unit & 0x800000ff) !== byte) return -1
    this.#hasLeaf = (unit & 0x100) !== 0
    return node ^ byte ^ offsetOf(unit)
  }

  #text(at: number): string {
    let text = this.#decoded.get(at)
    if (text === undefined) {
      const end = this.#texts.indexOf(0, at)
      text = decoder.decode(this.#texts.subarray(at, end < 0 ? undefined : end))
      this.#decoded.set(at, text)
    }
    return text
  }
}
