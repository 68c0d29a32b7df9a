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
}

/** Ids of a text as they come. */
export class Ids {
  readonly ids: number[]
  readonly #unknown: Unknown
  #inUnknown = false

  constructor(ids: number[], unknown: Unknown) {
    this.ids = ids
    this.#unknown = unknown
  }

  /** An empty list that treats unknown characters alike. */
  fresh(): Ids {
    return new Ids([], this.#unknown)
  }

  push(id: number): void {
    this.#inUnknown = false
    this.ids.push(id)
  }

  /** @returns whether what it becomes is the same beside any neighbours */
  pushUnknown(character: string): boolean {
    const { byteIds, id, fuse } = this.#unknown
    const bytes = byteIds && Array.from(utf8.encode(character), (byte) => byteIds[byte]!)
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
