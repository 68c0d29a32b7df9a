/** Protobuf wire format, as much of it as a SentencePiece model needs. */
export class ProtobufReader {
  #at = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined || scale > 2 ** 63) throw new RangeError('a truncated number')
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }

  #take(length: number): number {
    const start = this.#at
    if (start + length > this.#bytes.length) throw new RangeError('a truncated field')
    this.#at += length
    return start
  }

  /** Calls `onField` for each field with its value: a number, or the bytes of a length-delimited one. */
  fields(onField: (field: number, value: number | Uint8Array) => void): void {
    while (this.#at < this.#bytes.length) {
      const key = this.#varint()
      const field = Math.floor(key / 8)
      const wire = key % 8
      if (wire === 0) onField(field, this.#varint())
      else if (wire === 2) {
        const length = this.#varint()
        const start = this.#take(length)
        onField(field, this.#bytes.subarray(start, start + length))
      } else if (wire === 5) onField(field, this.#view.getFloat32(this.#take(4), true))
      else if (wire === 1) this.#take(8)
      else throw new RangeError(`wire type ${wire}`)
    }
  }
}

/** A field that must be bytes. */
export function bytesOf(value: number | Uint8Array): Uint8Array {
  if (typeof value === 'number') throw new RangeError('a number where bytes belong')
  return value
}

/** A field that must be a number. */
export function numberOf(value: number | Uint8Array): number {
  if (typeof value !== 'number') throw new RangeError('bytes where a number belongs')
  return value
}
