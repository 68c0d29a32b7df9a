import type { Steps } from './slices.ts'

/** Cuts a normalised text into pieces. */
export interface PieceModel {
  encode(text: string, out: Ids): Steps<void>
}

const utf8 = new TextEncoder()

/** What characters that are in no piece become. */
export interface Unknown {
  /** Ids of the 256 bytes, -1 for one that is missing; undefined: no such pieces. */
  byteIds: ArrayLike<number> | undefined
  /** Undefined: such characters vanish. */
  id: number | undefined
  /** A run of unknown characters is one id. */
  fuse: boolean
  /** What a space stands for. */
  space?: string | undefined
}

/** Ids of a text as they come; not on the heap, where a long list would be copied again and again. */
export class Ids {
  length = 0
  #ids = new Int32Array(64)
  readonly #unknown: Unknown
  #inUnknown = false

  constructor(unknown: Unknown) {
    this.#unknown = unknown
  }

  get last(): number | undefined {
    return this.length > 0 ? this.#ids[this.length - 1] : undefined
  }

  *toArray(): Steps<number[]> {
    const out = new Array<number>(this.length)
    for (let start = 0; start < this.length; start += 8192) {
      const end = Math.min(this.length, start + 8192)
      for (let i = start; i < end; i++) out[i] = this.#ids[i]!
      yield
    }
    return out
  }

  /** An empty list that treats unknown characters alike. */
  fresh(): Ids {
    return new Ids(this.#unknown)
  }

  /** What comes now has nothing to do with what came. */
  separate(): void {
    this.#inUnknown = false
  }

  push(id: number): void {
    if (this.length === this.#ids.length) {
      const larger = new Int32Array(2 * this.length)
      larger.set(this.#ids)
      this.#ids = larger
    }
    this.#inUnknown = false
    this.#ids[this.length++] = id
  }

  /** @returns whether what it becomes is the same beside any neighbours */
  pushUnknown(character: string): boolean {
    const { byteIds, id, fuse, space } = this.#unknown
    const spelled = character === ' ' ? (space ?? character) : character
    const bytes = byteIds && Array.from(utf8.encode(spelled), (byte) => byteIds[byte]!)
    if (bytes && !bytes.includes(-1)) {
      for (const byte of bytes) this.push(byte)
      return true
    }
    if (id !== undefined && !(fuse && this.#inUnknown)) {
      this.push(id)
      this.#inUnknown = true
    }
    return !fuse
  }
}
