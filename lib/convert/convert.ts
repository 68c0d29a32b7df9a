import {
  copyFile,
  type FileHandle,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import { type PickledTensor, readStateDict } from './pickle.ts'
import { readAt, readZip } from './zip.ts'

export interface ConvertOptions {
  onProgress?:
    | ((progress: { convertedBytes: number; totalBytes: number; file: string }) => void)
    | undefined
  signal?: AbortSignal | undefined
}

/** What is converted, or must not be copied beside the result. */
const weightFile = /\.(bin|safetensors|pt|pth|gguf)$|\.index\.json$|^\./
const elementBytes: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
}

interface Source {
  name: string
  dtype: string
  shape: number[]
  offset: number
  bytes: number
}

function isContiguous({ shape, stride }: PickledTensor): boolean {
  let expected = 1
  return shape.every((_, i) => {
    const at = shape.length - 1 - i
    const ok = shape[at] === 1 || stride[at] === expected
    expected *= shape[at]!
    return ok
  })
}

/** Where each tensor of a PyTorch file has its bytes. */
async function readPyTorch(file: FileHandle, label: string): Promise<Source[]> {
  const members = await readZip(file, label)
  const pickleName = [...members.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (!pickleName)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: archive must hold data.pkl, got ${members.size} other members`,
    )
  const prefix = pickleName.slice(0, -'data.pkl'.length)
  const order = members.get(`${prefix}byteorder`)
  if (order) {
    const text = new TextDecoder().decode(await readAt(file, label, order.offset, order.bytes))
    if (text !== 'little')
      throw new MoeError('ERR_MOE_UNSUPPORTED', `${label}: byteorder must be little, got ${text}`)
  }
  const pickle = members.get(pickleName)!
  const tensors = readStateDict(label, await readAt(file, label, pickle.offset, pickle.bytes))
  return [...tensors].map(([name, tensor]) => {
    const { dtype, key } = tensor.storage
    const size = elementBytes[dtype]!
    const bytes = size * tensor.shape.reduce((n, dim) => n * dim, 1)
    const member = members.get(`${prefix}data/${key}`)
    if (!isContiguous(tensor))
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${label}: tensor ${name} must be contiguous, got strides ${tensor.stride}`,
      )
    if (!member || size * tensor.offset + bytes > member.bytes)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${label}: tensor ${name} must be inside data/${key}, got ${member?.bytes ?? 'no'} bytes`,
      )
    return { name, dtype, shape: tensor.shape, offset: member.offset + size * tensor.offset, bytes }
  })
}

function safetensorsHeader(sources: Source[]): Uint8Array {
  let at = 0
  const entries = sources.map(({ name, dtype, shape, bytes }) => {
    const begin = at
    at += bytes
    return [name, { dtype, shape, data_offsets: [begin, at] }] as const
  })
  const json = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) })
  const text = new TextEncoder().encode(
    json + ' '.repeat((8 - (new TextEncoder().encode(json).length % 8)) % 8),
  )
  const header = new Uint8Array(8 + text.length)
  new DataView(header.buffer).setBigUint64(0, BigInt(text.length), true)
  header.set(text, 8)
  return header
}

const pieceBytes = 8 << 20

async function copyTensors(
  from: FileHandle,
  label: string,
  to: FileHandle,
  sources: Source[],
  onBytes: (n: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  await to.write(safetensorsHeader(sources))
  for (const { offset, bytes } of sources)
    for (let done = 0; done < bytes; ) {
      signal?.throwIfAborted()
      const length = Math.min(pieceBytes, bytes - done)
      await to.write(await readAt(from, label, offset + done, length))
      done += length
      onBytes(length)
    }
}

async function listSources(dir: string): Promise<{ weights: string[]; others: string[] }> {
  const files = await readdir(dir, { withFileTypes: true }).catch((cause) => {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${dir}: folder must be readable, got ${cause.code}`, {
      cause,
    })
  })
  const names = files.filter((file) => file.isFile()).map((file) => file.name)
  const weights = names.filter((name) => /^pytorch_model.*\.bin$/.test(name)).sort()
  if (weights.length === 0)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: folder must hold pytorch_model*.bin, got none`,
    )
  return { weights, others: names.filter((name) => !weightFile.test(name)) }
}

/**
 * Turns a PyTorch checkpoint (`pytorch_model*.bin`) into safetensors, tensor by tensor, without executing
 * anything of the pickle. Configuration and tokenizer files are copied.
 *
 * @param dir the folder of the checkpoint
 * @param out a folder that does not exist or is empty
 * @throws {MoeError} ERR_MOE_CHECKPOINT for damaged files, ERR_MOE_UNSUPPORTED for pickles of anything but
 *   tensors, ERR_MOE_OPTION when `out` has files
 */
export async function convertCheckpoint(
  dir: string,
  out: string,
  options: ConvertOptions = {},
): Promise<void> {
  const { onProgress, signal } = options
  signal?.throwIfAborted()
  const { weights, others } = await listSources(dir)
  await mkdir(out, { recursive: true })
  if ((await readdir(out)).length > 0) badOption('convert', 'OUT', 'a new or empty folder', out)

  const sizes = await Promise.all(weights.map((name) => stat(path.join(dir, name))))
  const totalBytes = sizes.reduce((n, { size }) => n + size, 0)
  let convertedBytes = 0
  const weightMap: Record<string, string> = {}
  const pad = (n: number) => String(n).padStart(5, '0')
  try {
    for (const [i, name] of weights.entries()) {
      const label = path.join(dir, name)
      const file =
        weights.length === 1
          ? 'model.safetensors'
          : `model-${pad(i + 1)}-of-${pad(weights.length)}.safetensors`
      const from = await open(label)
      try {
        const sources = await readPyTorch(from, label)
        const to = await open(path.join(out, `${file}.partial`), 'w')
        try {
          const onBytes = (n: number) => {
            convertedBytes += n
            onProgress?.({ convertedBytes, totalBytes, file })
          }
          await copyTensors(from, label, to, sources, onBytes, signal)
        } finally {
          await to.close()
        }
        for (const source of sources) {
          if (weightMap[source.name])
            throw new MoeError(
              'ERR_MOE_CHECKPOINT',
              `${label}: tensor ${source.name} must be in one file, got it in two`,
            )
          weightMap[source.name] = file
        }
        await rename(path.join(out, `${file}.partial`), path.join(out, file))
      } finally {
        await from.close()
      }
    }
    if (weights.length > 1) {
      const index = { metadata: { total_size: convertedBytes }, weight_map: weightMap }
      await writeFile(
        path.join(out, 'model.safetensors.index.json'),
        `${JSON.stringify(index, null, 2)}\n`,
      )
    }
    for (const name of others) await copyFile(path.join(dir, name), path.join(out, name))
  } catch (error) {
    await rm(out, { recursive: true, force: true })
    throw error
  }
}
