import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { ExtData, encode } from '@msgpack/msgpack'
import { copyCheckpoint, readStored } from './files.ts'
import { fixture } from './golden.ts'

type Slices = [number, number][]

const slicesOf = (slices: Slices) => encode(slices.map(([a, b]) => encode([a, b, null])))
const array = (data: Uint8Array) => new ExtData(1, encode([[data.length / 4], 'float32', data]))

export interface VmoeOptions {
  /** Changes a chunk's slices as the shard has them. */
  slices?: (name: string, slices: Slices) => Slices
  dtype?: string
}

/** Both halves of an axis, which is cut first; scalars and vectors stay whole. */
function halves(shape: number[], axis: number): Slices[] {
  const whole = shape.map((n): [number, number] => [0, n])
  const middle = shape[axis]! >> 1
  if (shape.length < 2 || middle === 0) return [whole]
  return [
    whole.with(axis, [0, middle]), //
    whole.with(axis, [middle, shape[axis]!]),
  ]
}

/** The values of a part that is cut in one axis, one behind the other. */
function cut(data: Uint8Array, shape: number[], axis: number, slices: Slices): Uint8Array {
  const inner = 4 * shape.slice(axis + 1).reduce((n, dim) => n * dim, 1)
  const [start, stop] = slices[axis] ?? [0, 1]
  const row = inner * (shape[axis] ?? 1)
  const rows = Array.from({ length: data.length / row }, (_, i) =>
    data.subarray(i * row + start * inner, i * row + stop * inner),
  )
  return Buffer.concat(rows)
}

/** A folder of vision/ as google-research/vmoe would have saved it, in two shards; files by their names. */
export function vmoeCheckpoint(folder: string, options: VmoeOptions = {}): string {
  const dir = copyCheckpoint(fixture('golden/vision', folder))
  const tensors = [...readStored(path.join(dir, 'model.safetensors'))]
  tensors.sort(([a], [b]) => {
    const [x, y] = [a.split('/'), b.split('/')]
    const i = x.findIndex((key, at) => key !== y[at])
    return x[i]! < (y[i] ?? '') ? -1 : 1
  })
  const shards: Record<string, unknown>[] = [0, 1].map(() => ({
    __msgpack_array_chunk_a87ca2__: true,
  }))
  const params = {}
  tensors.forEach(([name, { shape, data }], number) => {
    const axis = shape.length > 1 ? number % 2 : 0
    const parts = halves(shape, axis)
    parts.forEach((slices, i) => {
      const piece = cut(data, shape, axis, slices)
      const middle = 4 * Math.ceil(piece.length / 8)
      const pieces = [piece.subarray(0, middle), piece.subarray(middle)]
      const seen = options.slices?.(name, slices) ?? slices
      shards[i]![number] = [[pieces.map(array), new ExtData(6, slicesOf(seen))]]
    })
    const info = encode([
      encode([shape, options.dtype ?? 'float32', false, {}]),
      parts.map(slicesOf),
      parts.map((_, i) => i),
    ])
    const keys = name.split('/')
    const last = keys.pop()!
    const parent = keys.reduce<any>((tree, key) => (tree[key] ??= {}), params)
    parent[last] = new ExtData(8, info)
  })
  const step = new ExtData(8, encode([encode([[], 'int32', false, {}]), [slicesOf([])], [0]]))
  // Behind the parameters in the order of the keys.
  shards[0]![tensors.length] = [[[array(new Uint8Array(4))], new ExtData(6, slicesOf([]))]]
  const index = { params, step }
  writeFileSync(
    path.join(dir, 'ckpt_1.index'),
    encode({ shard_count: 2, index, version: '20220622' }),
  )
  shards.forEach((shard, i) => {
    writeFileSync(path.join(dir, `ckpt_1.data-0000${i}-of-00002`), encode(shard))
  })
  return dir
}
