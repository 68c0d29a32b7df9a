import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
export const fixture = (...parts: string[]): string => path.join(root, 'test/fixtures', ...parts)

export interface GoldenTensor {
  shape: number[]
  data: Float64Array
}

const readers: Record<string, [number, (view: DataView, at: number) => number]> = {
  F64: [8, (v, at) => v.getFloat64(at, true)],
  F32: [4, (v, at) => v.getFloat32(at, true)],
  BF16: [2, (v, at) => new Float32Array(Uint32Array.of(v.getUint16(at, true) << 16).buffer)[0]!],
  U8: [1, (v, at) => v.getUint8(at)],
  I32: [4, (v, at) => v.getInt32(at, true)],
  I64: [8, (v, at) => Number(v.getBigInt64(at, true))],
}

/** Every tensor of a safetensors file in f64. Shares nothing with the library's reader. */
export function readGolden(file: string): Map<string, GoldenTensor> {
  const bytes = readFileSync(file)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const headerBytes = Number(view.getBigUint64(0, true))
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString('utf8')) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors = new Map<string, GoldenTensor>()
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const [size, read] = readers[dtype]!
    const count = shape.reduce((n, dim) => n * dim, 1)
    const start = 8 + headerBytes + data_offsets[0]
    tensors.set(name, {
      shape,
      data: Float64Array.from({ length: count }, (_, i) => read(view, start + i * size)),
    })
  }
  return tensors
}

export interface Golden {
  has(name: string): boolean
  get(name: string): Float64Array
  /** The tensor's rows along its first dimension. */
  rows(name: string): Float64Array[]
  ids(name: string): number[]
}

/** Golden results; later files win. */
export function golden(...files: string[]): Golden {
  const all = new Map(files.flatMap((file) => [...readGolden(file)]))
  const tensor = (name: string): GoldenTensor => {
    const found = all.get(name)
    if (!found) throw new Error(`no golden tensor ${name}`)
    return found
  }
  return {
    has: (name) => all.has(name),
    get: (name) => tensor(name).data,
    rows(name) {
      const { shape, data } = tensor(name)
      const width = data.length / shape[0]!
      return Array.from({ length: shape[0]! }, (_, i) => data.subarray(i * width, (i + 1) * width))
    },
    ids: (name) => Array.from(tensor(name).data),
  }
}

/** Largest absolute difference; NaN anywhere is infinite. */
export function maxDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) throw new Error(`got ${got.length} numbers, want ${want.length}`)
  let worst = 0
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!)
    worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference)
  }
  return worst
}

export function rms(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < got.length; i++) sum += (got[i]! - want[i]!) ** 2
  return Math.sqrt(sum / got.length)
}

/** Mean next-token cross entropy of logits [T, V] on the sequence itself. */
export function loss(logits: Float32Array, ids: number[]): number {
  const V = logits.length / ids.length
  let total = 0
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = Array.from(logits.subarray(t * V, (t + 1) * V))
    const top = row.reduce((a, b) => Math.max(a, b))
    const logSum = top + Math.log(row.reduce((sum, z) => sum + Math.exp(z - top), 0))
    total += logSum - row[ids[t + 1]!]!
  }
  return total / (ids.length - 1)
}

export function argmax(row: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i
  return best
}

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
