const utf8 = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/**
 * SentencePiece's `precompiled_charsmap`: the size of a double-array trie (Darts-clone), the trie over UTF-8,
 * and the replacements it points into, each ended by a zero byte.
 */
export class Charsmap {
  readonly #units: Uint32Array
  readonly #texts: Uint8Array
  readonly #decoded = new Map<number, string>()

  /** Throws RangeError when the blob is damaged. */
  constructor(blob: Uint8Array) {
    const size =
      blob.length > 4 ? new DataView(blob.buffer, blob.byteOffset).getUint32(0, true) : -1
    if (size < 4 || size % 4 !== 0 || 4 + size >= blob.length)
      throw new RangeError('a truncated character map')
    this.#units = new Uint32Array(new Uint8Array(blob.subarray(4, 4 + size)).buffer)
    this.#texts = blob.subarray(4 + size)
  }

  /** The longest rule for what `bytes` have at `at`; undefined: none. */
  longest(bytes: Uint8Array, at: number): { length: number; text: string } | undefined {
    return this.#find(bytes, at, false)
  }

  /** What the shortest rule makes of `bytes`; undefined: none. */
  shortest(bytes: Uint8Array): string | undefined {
    return this.#find(bytes, 0, true)?.text
  }

  #find(
    bytes: Uint8Array,
    at: number,
    shortest: boolean,
  ): { length: number; text: string } | undefined {
    const units = this.#units
    const offset = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6)
    let length = 0
    let value = 0
    let node = offset(units[0]!)
    for (let i = at; i < bytes.length; ) {
      const byte = bytes[i++]!
      node ^= byte
      const unit = units[node]
      if (unit === undefined || (unit & 0x800000ff) !== byte) break
      node ^= offset(unit)
      if ((unit & 0x100) === 0) continue
      length = i - at
      value = units[node]! & 0x7fffffff
      if (shortest) break
    }
    return length > 0 ? { length, text: this.#text(value) } : undefined
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

/** Text with the rules applied from left to right, longest first; `at` moves on by `length` units. */
export class CharsmapReader {
  readonly #map: Charsmap
  readonly #text: string
  /** UTF-8 of the text from `#start`, as far as it has been looked at. */
  #bytes = new Uint8Array(0)
  #start = 0
  #end = 0
  #byteAt = 0

  constructor(map: Charsmap, text: string) {
    this.#map = map
    this.#text = text
  }

  next(at: number): { length: number; text: string } {
    // Rules are short: a window of some characters always holds a whole one.
    if (at + 256 > this.#end && this.#end < this.#text.length) this.#fill(at)
    else if (at !== this.#start) this.#fill(at)
    const rule = this.#map.longest(this.#bytes, this.#byteAt)
    const code = this.#text.codePointAt(at)!
    if (!rule) {
      const width = code > 0xffff ? 2 : 1
      this.#move(width, utf8Length(code))
      return { length: width, text: this.#text.slice(at, at + width) }
    }
    const length = decoder.decode(
      this.#bytes.subarray(this.#byteAt, this.#byteAt + rule.length),
    ).length
    this.#move(length, rule.length)
    return { length, text: rule.text }
  }

  #move(units: number, bytes: number): void {
    this.#start += units
    this.#byteAt += bytes
  }

  #fill(at: number): void {
    this.#start = at
    this.#end = Math.min(this.#text.length, at + 4096)
    this.#bytes = utf8.encode(this.#text.slice(at, this.#end))
    this.#byteAt = 0
  }
}

const utf8Length = (code: number): number =>
  code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
