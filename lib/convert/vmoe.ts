import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { MoeError } from '../errors.ts'
import { elementBytes } from '../weights/safetensors.ts'
import { decodeFlax, FlatArray, IndexInfo, type Slices } from './flax_msgpack.ts'
import { unreadable } from './folders.ts'
import type { Described } from './safetensors_header.ts'

// Checkpoints of google-research/vmoe: NAME.index says which shard NAME.data-iiiii-of-nnnnn has which
// chunks of which tensor (vmoe/checkpoints/partitioned.py).

const dtypes: Record<string, string> = {
  ...{ float32: 'F32', bfloat16: 'BF16', float16: 'F16', float64: 'F64' },
  ...{ int32: 'I32', uint32: 'U32', int64: 'I64' },
}
const chunksKey = '__msgpack_array_chunk_a87ca2__'

interface Chunk {
  slices: Slices
  /** One behind the other. */
  arrays: FlatArray[]
}

export interface VmoeTensor extends Described {
  data(): Uint8Array
}

const damaged = (label: string, what: string, expected: string, got: unknown): never => {
  throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: ${what} must be ${expected}, got ${got}`)
}
const isMap = (v: unknown): v is Record<string, unknown> =>
  typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof IndexInfo)
const volume = (slices: Slices): number => slices.reduce((n, [a, b]) => n * (b - a), 1)
const isSlices = (v: unknown): v is Slices =>
  Array.isArray(v) &&
  v.every(
    (axis) =>
      Array.isArray(axis) &&
      axis.length === 2 &&
      axis.every(Number.isSafeInteger) &&
      axis[0] >= 0 &&
      axis[0] < axis[1],
  )
const overlap = (a: Slices, b: Slices): boolean =>
  a.every(([start, stop], i) => start < b[i]![1] && b[i]![0] < stop)

const limits = { depth: 64, chunks: 4096, rank: 16 }

/** The leaves in the order in which the publisher numbers them: by the keys of each map. */
function* leaves(label: string, tree: unknown, at: string[]): Generator<[string[], IndexInfo]> {
  if (at.length > limits.depth) damaged(label, 'index', `at most ${limits.depth} deep`, 'more')
  if (tree instanceof IndexInfo) yield [at, tree]
  else if (isMap(tree))
    for (const key of Object.keys(tree).sort()) yield* leaves(label, tree[key], [...at, key])
}

/** What a shard has of each tensor, by its number. */
function readShard(label: string, bytes: Uint8Array): Map<number, Chunk[]> {
  const shard = decodeFlax(label, bytes)
  if (!isMap(shard) || shard[chunksKey] !== true)
    damaged(label, 'file', 'a shard of array chunks', typeof shard)
  const { [chunksKey]: _, ...entries } = shard as Record<string, unknown>
  const chunk = (pair: unknown): Chunk => {
    const [arrays, slices] = Array.isArray(pair) ? pair : []
    const ok = Array.isArray(arrays) && arrays.every((a) => a instanceof FlatArray)
    if (!ok || !isSlices(slices)) return damaged(label, 'chunk', 'arrays and slices', typeof pair)
    return { arrays, slices }
  }
  return new Map(
    Object.entries(entries).map(([number, chunks]) => [
      Number(number),
      Array.isArray(chunks) ? chunks.map(chunk) : damaged(label, number, 'a list', typeof chunks),
    ]),
  )
}

function readIndex(label: string, bytes: Uint8Array): { shards: number; tree: unknown } {
  const index = decodeFlax(label, bytes)
  const { shard_count: shards, index: tree } = isMap(index) ? index : {}
  if (!Number.isSafeInteger(shards) || !((shards as number) >= 1 && (shards as number) <= 99999))
    damaged(label, 'shard_count', 'a number of files', shards)
  return { shards: shards as number, tree }
}

/** Copies a chunk, whose values lie one behind the other, to where it is in the tensor. */
function place(out: Uint8Array, shape: number[], { slices, arrays }: Chunk, size: number): void {
  const from = arrays.length === 1 ? arrays[0]!.data : Buffer.concat(arrays.map((a) => a.data))
  let read = 0
  const copy = (axis: number, at: number): void => {
    const [start, stop] = slices[axis] ?? [0, 1]
    if (axis >= shape.length - 1) {
      const bytes = (stop - start) * size
      out.set(from.subarray(read, read + bytes), (at + start) * size)
      read += bytes
      return
    }
    for (let i = start; i < stop; i++) copy(axis + 1, (at + i) * shape[axis + 1]!)
  }
  copy(0, 0)
}

/** Checks that the chunks are the tensor: each value once. */
function checkChunks(label: string, name: string, info: IndexInfo, chunks: Chunk[]): void {
  const { shape } = info
  if (shape.length > limits.rank)
    damaged(label, `tensor ${name}: shape`, `at most ${limits.rank} axes`, shape.length)
  if (chunks.length > limits.chunks)
    damaged(label, `tensor ${name}: chunks`, `at most ${limits.chunks}`, chunks.length)
  const size = elementBytes[dtypes[info.dtype]!]!
  for (const { slices, arrays } of chunks) {
    if (slices.length !== shape.length || slices.some(([, stop], i) => stop > shape[i]!))
      damaged(label, `tensor ${name}: chunk`, `inside [${shape}]`, JSON.stringify(slices))
    const bytes = arrays.reduce((n, { data }) => n + data.length, 0)
    if (bytes !== volume(slices) * size || arrays.some(({ dtype }) => dtype !== info.dtype))
      damaged(
        label,
        `tensor ${name}: chunk`,
        `${volume(slices)} of ${info.dtype}`,
        `${bytes} bytes`,
      )
  }
  const values = chunks.reduce((n, { slices }) => n + volume(slices), 0)
  const expected = shape.reduce((n, dim) => n * dim, 1)
  const twice = chunks.some((a, i) => chunks.slice(0, i).some((b) => overlap(a.slices, b.slices)))
  if (values !== expected || twice)
    damaged(
      label,
      `tensor ${name}: chunks`,
      `all of its ${expected} values once`,
      twice ? 'some twice' : values,
    )
}

/**
 * The parameters of a checkpoint, named as in its tree, joined by `/`; what else a training state holds is
 * left out. All of it is in memory.
 *
 * @param index the path of NAME.index
 * @throws {MoeError} ERR_MOE_CHECKPOINT for damaged files, ERR_MOE_UNSUPPORTED for other dtypes
 */
export async function readVmoe(index: string): Promise<VmoeTensor[]> {
  const read = async (file: string): Promise<Buffer> => {
    const { size } = await stat(file).catch(unreadable(`${file}: file`))
    return size === 0 ? Buffer.alloc(0) : readFile(file).catch(unreadable(`${file}: file`))
  }
  const { shards, tree } = readIndex(index, await read(index))
  const stem = index.slice(0, -path.extname(index).length)
  const pad = (n: number) => String(n).padStart(5, '0')
  const chunks = new Map<number, Chunk[]>()
  for (let i = 0; i < shards; i++) {
    const file = `${stem}.data-${pad(i)}-of-${pad(shards)}`
    for (const [number, some] of readShard(file, await read(file)))
      chunks.set(number, [...(chunks.get(number) ?? []), ...some])
  }
  const numbered = [...leaves(index, tree, [])].map(([keys, info], i) => ({
    keys,
    info,
    number: i,
  }))
  const whole = numbered.some(({ keys }) => keys[0] === 'params')
  const tensors = numbered.filter(({ keys }) => !whole || keys[0] === 'params')
  if (tensors.length === 0) damaged(index, 'index', 'of tensors', 'none')
  return tensors.map(({ keys, info, number }) => {
    const name = keys.slice(whole ? 1 : 0).join('/')
    const dtype = Object.hasOwn(dtypes, info.dtype) ? dtypes[info.dtype] : undefined
    if (dtype === undefined)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${index}: dtype of tensor ${name} must be one of ${Object.keys(dtypes).join(', ')}, got ${info.dtype}`,
      )
    const own = chunks.get(number) ?? []
    checkChunks(index, name, info, own)
    const size = elementBytes[dtype]!
    const bytes = info.shape.reduce((n, dim) => n * dim, size)
    const data = () => {
      const out = new Uint8Array(bytes)
      for (const chunk of own) place(out, info.shape, chunk, size)
      return out
    }
    return { name, dtype, shape: info.shape, bytes, data }
  })
}
