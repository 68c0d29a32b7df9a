import { access, constants, open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import { checkOptions, signalOption } from '../options.ts'
import { checkpointFolder } from '../weights/mistakes.ts'
import { Output } from './output.ts'
import { readPyTorch, type Source } from './pytorch.ts'
import { readAt } from './zip.ts'

/** How far a conversion has come: bytes of tensors, over all files. */
export interface ConvertProgress {
  convertedBytes: number
  totalBytes: number
  /** The file that is written. */
  file: string
}

export interface ConvertOptions {
  /** Called after each piece of a tensor. */
  onProgress?: ((progress: ConvertProgress) => void) | undefined
  /** Aborts; the call rejects with the signal's reason and leaves nothing behind. */
  signal?: AbortSignal | undefined
}

/** What is converted, or must not be copied beside the result. */
const weightFile = /\.(bin|safetensors|pt|pth|gguf)$|\.index\.json$|^\./

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

const unreadable =
  (what: string) =>
  (cause: NodeJS.ErrnoException): never => {
    const message = `${what} must be readable, got ${cause.code}`
    throw new MoeError('ERR_MOE_CHECKPOINT', message, { cause })
  }

/** The files of a folder, links to files included: a download's cache is made of those. */
async function listFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(unreadable(`${dir}: folder`))
  const isFile = (name: string) =>
    stat(path.join(dir, name)).then(
      (info) => info.isFile(),
      () => false,
    )
  const files = await Promise.all(names.map(isFile))
  return names.filter((_, i) => files[i])
}

async function listSources(dir: string): Promise<{ weights: string[]; others: string[] }> {
  const names = await listFiles(dir)
  const weights = names.filter((name) => /^pytorch_model.*\.bin$/.test(name)).sort()
  if (weights.length === 0)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: folder must hold pytorch_model*.bin, got none`,
    )
  return { weights, others: names.filter((name) => !weightFile.test(name)) }
}

/** A PyTorch file and the safetensors file that it becomes. */
interface Part {
  label: string
  file: string
  sources: Source[]
}

/** What every file holds; nothing is written before all of it is valid. */
async function readParts(dir: string, weights: string[]): Promise<Part[]> {
  const pad = (n: number) => String(n).padStart(5, '0')
  const seen = new Set<string>()
  const parts: Part[] = []
  for (const [i, name] of weights.entries()) {
    const label = path.join(dir, name)
    const file =
      weights.length === 1
        ? 'model.safetensors'
        : `model-${pad(i + 1)}-of-${pad(weights.length)}.safetensors`
    const from = await open(label).catch(unreadable(`${label}: file`))
    try {
      parts.push({ label, file, sources: await readPyTorch(from, label) })
    } finally {
      await from.close()
    }
    for (const source of parts.at(-1)!.sources) {
      if (seen.has(source.name))
        throw new MoeError(
          'ERR_MOE_CHECKPOINT',
          `${label}: tensor ${source.name} must be in one file, got it in two`,
        )
      seen.add(source.name)
    }
  }
  return parts
}

async function writePart(
  { label, file, sources }: Part,
  out: Output,
  onBytes: (n: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const from = await open(label).catch(unreadable(`${label}: file`))
  try {
    await out.file(file, async (append) => {
      await append(safetensorsHeader(sources))
      for (const { offset, bytes } of sources)
        for (let done = 0; done < bytes; ) {
          signal?.throwIfAborted()
          const length = Math.min(pieceBytes, bytes - done)
          const { buffer } = await readAt(from, label, offset + done, length)
          await append(new Uint8Array(buffer))
          done += length
          onBytes(length)
        }
    })
  } finally {
    await from.close()
  }
}

async function writeIndex(parts: Part[], out: Output, totalBytes: number): Promise<void> {
  const entries = parts.flatMap(({ file, sources }) => sources.map(({ name }) => [name, file]))
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(entries) }
  await out.file('model.safetensors.index.json', (append) =>
    append(Buffer.from(`${JSON.stringify(index, null, 2)}\n`)),
  )
}

function checkPath(name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '' || value.includes('\0'))
    badOption('convertCheckpoint', name, 'a path of a folder', value)
}

/**
 * Turns a PyTorch checkpoint (`pytorch_model*.bin`) into safetensors, tensor by tensor, without executing
 * anything of the pickle. Configuration and tokenizer files are copied.
 *
 * @param from the folder of the checkpoint
 * @param out a folder that does not exist or is empty
 * @throws {MoeError} ERR_MOE_CHECKPOINT for files that are damaged or cannot be read, ERR_MOE_UNSUPPORTED for
 *   pickles of anything but tensors, ERR_MOE_OPTION when `out` has files or cannot be written
 */
export async function convertCheckpoint(
  from: string | URL,
  out: string,
  options: ConvertOptions = {},
): Promise<void> {
  const dir = checkpointFolder('convertCheckpoint', from)
  checkPath('out', out)
  checkOptions('convertCheckpoint', options, { onProgress: true, signal: true })
  const { onProgress, signal: given } = options
  const signal = signalOption('convertCheckpoint', given)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    badOption('convertCheckpoint', 'onProgress', 'a function', onProgress)
  signal?.throwIfAborted()
  const { weights, others } = await listSources(dir)
  const parts = await readParts(dir, weights)
  const totalBytes = parts.flatMap(({ sources }) => sources).reduce((n, s) => n + s.bytes, 0)
  let convertedBytes = 0
  const output = new Output(out)
  await output.open()
  try {
    for (const part of parts) {
      const onBytes = (n: number) => {
        convertedBytes += n
        onProgress?.({ convertedBytes, totalBytes, file: part.file })
      }
      await writePart(part, output, onBytes, signal)
    }
    if (parts.length > 1) await writeIndex(parts, output, totalBytes)
    for (const name of others) {
      const from = path.join(dir, name)
      await access(from, constants.R_OK).catch(unreadable(`${from}: file`))
      await output.copy(from, name)
    }
    signal?.throwIfAborted()
    await output.finish()
  } catch (error) {
    await output.discard()
    throw error
  }
}
