import { MoeError, shown } from '../errors.ts'
import { type DType, type MappedFile, native } from '../native.ts'
import { type Json, utf8 } from './json.ts'

/** Bytes of the safetensors element types; of these only those in `dtypes` can be computed with. */
export const elementBytes: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
}
/** What a graph's tensors may be stored in. */
export const floats: Record<string, DType> = { F32: 'f32', F16: 'f16', BF16: 'bf16' }
const dtypes: Record<string, DType> = { ...floats, I32: 'i32' } // GPTQ's parts

/** The format's own limit. */
const maxHeaderBytes = 100_000_000

/** One tensor of a safetensors file; `offset` counts from the start of the file. */
export interface Entry {
  name: string
  label: string
  file: MappedFile
  storedDtype: string
  shape: number[]
  offset: number
  bytes: number
  /** What its file says of itself. */
  metadata: Readonly<Json>
}

function damaged(label: string, what: string, expected: string, got: unknown): never {
  throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: ${what} must be ${expected}, got ${got}`)
}

/** A name out of a file, for a message. */
export const short = (name: string): string => (name.length > 200 ? `${name.slice(0, 200)}…` : name)

const isSize = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** Element type of an entry as ops name it, by the types that it may be stored in. */
export function entryDType(entry: Entry, allowed: Readonly<Record<string, DType>> = dtypes): DType {
  const dtype = allowed[entry.storedDtype]
  if (dtype) return dtype
  const names = Object.keys(allowed === dtypes ? floats : allowed)
  const expected = [names.slice(0, -1).join(', '), names.at(-1)].filter(Boolean).join(' or ')
  throw new MoeError(
    'ERR_MOE_DTYPE',
    `${entry.label}: ${entry.name} must be ${expected}, got ${entry.storedDtype}`,
  )
}

/** What follows the string that begins at `at`, a quote. */
function afterString(json: string, at: number): number {
  let end = json.indexOf('"', at + 1)
  // A quote behind an odd number of backslashes does not end it.
  for (; ; end = json.indexOf('"', end + 1)) {
    let escapes = 0
    while (json[end - 1 - escapes] === '\\') escapes++
    if (escapes % 2 === 0) return end + 1
  }
}

/** A key that valid JSON text has twice at its top level; JSON.parse keeps only the last of equal ones. */
function repeatedKey(json: string): string | undefined {
  const keys = new Set<string>()
  let depth = 0
  for (let at = 0; at < json.length; ) {
    const char = json[at]
    if (char === '"') {
      const end = afterString(json, at)
      let next = end
      while (' \t\n\r'.includes(json[next]!)) next++
      if (depth === 1 && json[next] === ':') {
        const raw = json.slice(at + 1, end - 1)
        const key = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw
        if (keys.has(key)) return key
        keys.add(key)
      }
      at = end
      continue
    }
    if (char === '{' || char === '[') depth++
    else if (char === '}' || char === ']') depth--
    at++
  }
  return undefined
}

function parseHeader(label: string, bytes: Uint8Array): Record<string, unknown> {
  let header: unknown
  let text: string
  try {
    text = utf8.decode(bytes)
    header = JSON.parse(text)
  } catch (cause) {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: header must be JSON, got ${cause}`, {
      cause,
    })
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    damaged(label, 'header', 'a JSON object', Array.isArray(header) ? 'an array' : typeof header)
  const twice = repeatedKey(text)
  if (twice !== undefined) damaged(label, `tensor ${short(twice)}`, 'named once', 'two entries')
  return header as Record<string, unknown>
}

function parseEntry(
  label: string,
  file: MappedFile,
  dataStart: number,
  name: string,
  value: unknown,
  metadata: Json,
): Entry {
  const at = `tensor ${short(name)}`
  if (typeof value !== 'object' || value === null) damaged(label, at, 'an object', typeof value)
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>
  const size = typeof dtype === 'string' ? elementBytes[dtype] : undefined
  if (size === undefined) damaged(label, `${at}: dtype`, 'a safetensors dtype', shown(dtype))
  if (!Array.isArray(shape) || !shape.every(isSize))
    damaged(label, `${at}: shape`, 'a list of sizes', shown(shape))
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    damaged(label, `${at}: data_offsets`, 'two offsets', shown(offsets))
  const [begin, end] = offsets as [number, number]
  const bytes = (shape as number[]).reduce((n, dim) => n * dim, size)
  if (end - begin !== bytes)
    damaged(label, `${at}: data_offsets`, `${bytes} bytes apart`, shown(offsets))
  if (dataStart + end > file.bytes)
    damaged(
      label,
      `${at}: data`,
      `inside the file of ${file.bytes} bytes`,
      `an end at ${dataStart + end}`,
    )
  return {
    name,
    label,
    file,
    storedDtype: dtype as string,
    shape: shape as number[],
    offset: dataStart + begin,
    bytes,
    metadata,
  }
}

/**
 * Maps a safetensors file and validates its whole header: lengths, dtypes, shapes, offsets, overlaps and
 * duplicate names.
 *
 * @param parts one path, or the parts of a file that was split by bytes, in order
 * @throws {MoeError} ERR_MOE_CHECKPOINT naming the file and the tensor
 */
export function openSafetensors(parts: string[]): Map<string, Entry> {
  const label = parts[0]!
  const file = new (native().MappedFile)(parts)
  if (file.bytes < 8) damaged(label, 'file', 'at least 8 bytes', file.bytes)
  const start = file.read(0, 8)
  const headerBytes = Number(new DataView(start.buffer).getBigUint64(0, true))
  if (headerBytes > maxHeaderBytes || headerBytes > file.bytes - 8)
    damaged(label, 'header', `inside the file of ${file.bytes} bytes`, `a length of ${headerBytes}`)
  const header = parseHeader(label, file.read(8, headerBytes))
  const said = header.__metadata__
  const metadata = typeof said === 'object' && said !== null ? (said as Json) : {}
  const entries = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => parseEntry(label, file, 8 + headerBytes, name, value, metadata))
  const byOffset = entries.filter((e) => e.bytes > 0).sort((a, b) => a.offset - b.offset)
  for (const [i, entry] of byOffset.entries()) {
    const before = byOffset[i - 1]
    if (before && before.offset + before.bytes > entry.offset)
      damaged(
        label,
        `tensor ${short(entry.name)}`,
        'apart from others',
        `an overlap with ${short(before.name)}`,
      )
  }
  return new Map(entries.map((entry) => [entry.name, entry]))
}
