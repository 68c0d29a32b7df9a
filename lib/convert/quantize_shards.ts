import path from 'node:path'
import { MoeError } from '../errors.ts'
import { native, type WeightFormat } from '../native.ts'
import type { Checkpoint } from '../weights/checkpoint.ts'
import { moduleOf } from '../weights/encoding.ts'
import type { Json } from '../weights/json.ts'
import { type Entry, entryDType } from '../weights/safetensors.ts'
import { count } from '../weights/weights.ts'
import { compressedConfig, type LayerFormats } from './compressed_config.ts'
import { type Recipe, recipeRule } from './recipe.ts'
import { type Described, safetensorsHeader } from './safetensors_header.ts'
import type { Append, Shard } from './shard.ts'
import type { Use } from './survey.ts'

/** A tensor of the checkpoint, and what is written in its place. */
interface Piece {
  entry: Entry
  /** A matrix, or several that are stacked. */
  matrix: boolean
  /** What it becomes; undefined: it is copied. */
  format: WeightFormat | undefined
  tensors: Described[]
}

/** What is written in place of `entry`, in the order of the file. */
function tensorsOf(entry: Entry, format: WeightFormat | undefined): Described[] {
  const { name, shape, bytes, storedDtype: dtype } = entry
  if (!format) return [{ name, dtype, shape, bytes }]
  const layer = moduleOf(name)
  const lead = shape.slice(0, -1)
  const [rows, width] = [count(lead), shape.at(-1)!]
  const scales = (dtype: 'F16' | 'F32', each: number): Described => ({
    name: `${layer}.weight_scale`,
    ...{ dtype, shape: [...lead, each], bytes: rows * each * (dtype === 'F16' ? 2 : 4) },
  })
  if (format === 'int8')
    return [{ name, dtype: 'I8', shape, bytes: rows * width }, scales('F32', 1)]
  const words = [...lead, width / 8]
  return [
    { name: `${layer}.weight_packed`, dtype: 'I32', shape: words, bytes: count(words) * 4 },
    scales('F16', width / (format === 'int4g128' ? 128 : 32)),
    { name: `${layer}.weight_shape`, dtype: 'I64', shape: [shape.length], bytes: 8 * shape.length },
  ]
}

/** A tensor's format: that of the part which keeps most of it, and none where it serves as something else, too. */
function formatOf(entry: Entry, use: Use | undefined, recipe: Recipe): WeightFormat | undefined {
  if (!use || use.otherwise || use.parts.size === 0) return undefined
  const width = entry.shape.at(-1)!
  const rule = recipeRule(recipe)
  const wanted = [...use.parts].map(([part, stored]) => rule({ part, stored, K: width }))
  if (!wanted.every((format) => format.startsWith('int'))) return undefined
  if (use.reshaped)
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${entry.label}: ${entry.name} must be stored by its outputs to be quantised in a file, got another order; ` +
        `load it with weights: '${recipe.format}' instead`,
    )
  // The layout has whole groups only.
  return wanted.includes('int8') || width % 32 !== 0 ? 'int8' : wanted[0]
}

/** One file for each of the checkpoint's, and the configuration that says what is in them. */
export function planShards(
  { entries }: Checkpoint,
  uses: ReadonlyMap<string, Use>,
  recipe: Recipe,
): { shards: Shard[]; quantization: Json } {
  const files = new Map<string, Piece[]>()
  for (const entry of entries.values()) {
    const file = path.basename(entry.label).replace(/\d+$/, '') // the first of several parts
    const pieces = files.get(file) ?? []
    files.set(file, pieces)
    const use = uses.get(entry.name)
    const format = formatOf(entry, use, recipe)
    const matrix = (use?.parts.size ?? 0) > 0
    pieces.push({ entry, matrix, format, tensors: tensorsOf(entry, format) })
  }
  const shards = [...files].map(([file, pieces]) => ({
    file,
    tensors: pieces.flatMap(({ tensors }) => tensors),
    bytes: pieces.reduce((n, { entry }) => n + entry.bytes, 0),
    write: writerOf(pieces),
  }))
  return { shards, quantization: compressedConfig(layersOf([...files.values()].flat())) }
}

/** All matrices that multiply something, and what became of them. */
const layersOf = (pieces: Piece[]): LayerFormats =>
  new Map(
    pieces
      .filter(({ matrix }) => matrix)
      .map(({ entry, format }) => [moduleOf(entry.name), format] as const),
  )

export const pieceBytes = 16 << 20

export async function copyEntry(
  { file, offset, bytes }: Entry,
  append: Append,
  each: (n: number) => void,
) {
  for (let done = 0; done < bytes; ) {
    const length = Math.min(pieceBytes, bytes - done)
    await append(file.read(offset + done, length))
    done += length
    each(length)
  }
}

/** Some rows at a time: values go to the file, scales follow behind all of them. */
async function quantizeEntry(
  entry: Entry,
  format: WeightFormat,
  append: Append,
  each: (n: number) => void,
): Promise<void> {
  const { name, shape, file, offset, bytes, label } = entry
  const [rows, width] = [count(shape.slice(0, -1)), shape.at(-1)!]
  const dtype = entryDType(entry)
  const rowBytes = bytes / rows
  const step = Math.max(1, Math.floor(pieceBytes / rowBytes))
  const scales: Uint8Array[] = []
  for (let start = 0; start < rows; start += step) {
    const taken = Math.min(step, rows - start)
    const source = file.tensor(offset + start * rowBytes, [taken, width], dtype)
    const made = await native().quantize(source, format, `${label}: ${name}`)
    await append(made.values)
    scales.push(made.scales)
    each(taken * rowBytes)
  }
  for (const part of scales) await append(part)
  if (format === 'int8') return
  await append(new Uint8Array(BigInt64Array.from(shape, BigInt).buffer))
}

const writerOf =
  (pieces: Piece[]): Shard['write'] =>
  async (append, each) => {
    await append(safetensorsHeader(pieces.flatMap(({ tensors }) => tensors)))
    for (const { entry, format } of pieces)
      await (format ? quantizeEntry(entry, format, append, each) : copyEntry(entry, append, each))
  }
