import { decode, ExtensionCodec } from '@msgpack/msgpack'
import { MoeError } from '../errors.ts'

// The extension types of Flax's serialization, and those that google-research/vmoe adds
// (vmoe/checkpoints/serialization.py).

/** A part of a tensor: of each axis where it begins and where it ends. */
export type Slices = [start: number, stop: number][]

/** What an index says of a tensor. */
export class IndexInfo {
  shape: number[] = []
  dtype = ''
  /** Its chunks, and the shards that have them. */
  slices: Slices[] = []
  shards: number[] = []
}

/** Values of an array, whatever its shape. */
export class FlatArray {
  dtype = ''
  data = new Uint8Array()
}

const isSize = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0
const text = (v: unknown): string =>
  v instanceof Uint8Array ? new TextDecoder().decode(v) : String(v)

/** A list; `length`: exactly that long. Errors are told apart from others by decodeFlax. */
function list(what: string, v: unknown, length?: number): unknown[] {
  if (!Array.isArray(v) || (length !== undefined && v.length !== length))
    throw new TypeError(`${what} must be a list of ${length ?? 'any number of'} values`)
  return v
}
function sizes(what: string, v: unknown): number[] {
  const values = list(what, v)
  if (!values.every(isSize)) throw new TypeError(`${what} must be sizes`)
  return values
}
const nested = (what: string, v: unknown): unknown => {
  if (!(v instanceof Uint8Array)) throw new TypeError(`${what} must be bytes`)
  return decode(v)
}

function readSlices(data: unknown): Slices {
  return list('slices', nested('slices', data)).map((one) => {
    const [start, stop, step] = list('slice', nested('slice', one), 3)
    if (!isSize(start) || !isSize(stop) || start >= stop || (step !== null && step !== 1))
      throw new TypeError('slice must have a start, a greater stop and no step')
    return [start, stop]
  })
}

function readIndexInfo(data: Uint8Array): IndexInfo {
  const [array, slices, shards] = list('index entry', decode(data), 3)
  const [shape, dtype] = list('array', nested('array', array), 4)
  return Object.assign(new IndexInfo(), {
    shape: sizes('shape', shape),
    dtype: text(dtype),
    slices: list('slices', slices).map(readSlices),
    shards: sizes('shards', shards),
  })
}

function readArray(data: Uint8Array): FlatArray {
  const [, dtype, bytes] = list('array', decode(data), 3)
  if (!(bytes instanceof Uint8Array)) throw new TypeError('array must be bytes')
  return Object.assign(new FlatArray(), { dtype: text(dtype), data: bytes })
}

const extensions = new ExtensionCodec()
const known: [number, (data: Uint8Array) => unknown][] = [
  [1, readArray],
  [6, readSlices],
  [8, readIndexInfo],
]
for (const [type, decodeOne] of known)
  extensions.register({ type, encode: () => null, decode: decodeOne })

/**
 * A file of Flax's msgpack: maps of maps, with IndexInfo, FlatArray and Slices as leaves.
 * Arrays share the memory of `bytes`.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for bytes that are no such file
 */
export function decodeFlax(label: string, bytes: Uint8Array): unknown {
  try {
    return decode(bytes, { extensionCodec: extensions })
  } catch (cause) {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: file must be the msgpack of a Flax checkpoint, got ${(cause as Error).message}`,
      { cause },
    )
  }
}
