import { open } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import { checkOptions, signalOption } from '../options.ts'
import { checkpointFolder } from '../weights/mistakes.ts'
import { checkPath, isWeights, listFiles, unreadable } from './folders.ts'
import { Output } from './output.ts'
import { readPyTorch, type Source } from './pytorch.ts'
import { safetensorsHeader } from './safetensors_header.ts'
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

const pieceBytes = 8 << 20

async function listSources(dir: string): Promise<{ weights: string[]; others: string[] }> {
  const names = await listFiles(dir)
  const weights = names.filter((name) => /^pytorch_model.*\.bin$/.test(name)).sort()
  if (weights.length === 0)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: folder must hold pytorch_model*.bin, got none`,
    )
  return { weights, others: names.filter((name) => !isWeights(name)) }
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
  checkPath('convertCheckpoint', 'out', out)
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
  const output = new Output('convertCheckpoint', out)
  await output.open()
  try {
    for (const part of parts) {
      const onBytes = (n: number) => {
        convertedBytes += n
        onProgress?.({ convertedBytes, totalBytes, file: part.file })
      }
      await writePart(part, output, onBytes, signal)
    }
    if (parts.length > 1) await output.index(parts, totalBytes)
    for (const name of others) {
      await output.copy(path.join(dir, name), name)
    }
    signal?.throwIfAborted()
    await output.finish()
  } catch (error) {
    await output.discard()
    throw error
  }
}
