import { open } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import { checkOptions, signalOption } from '../options.ts'
import { checkpointFolder } from '../weights/mistakes.ts'
import { checkPath, isWeights, listFiles, unreadable } from './folders.ts'
import { Output } from './output.ts'
import { readPyTorch, type Source } from './pytorch.ts'
import { type Described, safetensorsHeader } from './safetensors_header.ts'
import { readAt } from './zip.ts'

/** How far a conversion has come: bytes of tensors, over all files. */
export interface ConvertProgress {
  convertedBytes: number
  totalBytes: number
  /** The file that is written. */
  file: string
}

/** Options of `convertCheckpoint`. */
export interface ConvertOptions {
  /** Called after each piece of a tensor. */
  onProgress?: ((progress: ConvertProgress) => void) | undefined
  /** Aborts; the call rejects with the signal's reason and leaves nothing behind. */
  signal?: AbortSignal | undefined
}

const pieceBytes = 8 << 20

/** A file that a download left out would be tensors that the result has not. */
function checkNumbers(dir: string, names: readonly string[]): void {
  for (const name of names) {
    const [, stem, width, of] = /^(.*-)(\d+)-of-(\d+)\.bin$/.exec(name) ?? []
    if (of === undefined) continue
    for (let i = 1; i <= Math.min(Number(of), names.length + 1); i++) {
      const other = `${stem}${String(i).padStart(width!.length, '0')}-of-${of}.bin`
      if (!names.includes(other))
        throw new MoeError(
          'ERR_MOE_CHECKPOINT',
          `${path.join(dir, other)}: file must exist beside ${name}, got nothing there`,
        )
    }
  }
}

async function listSources(dir: string) {
  const names = await listFiles(dir)
  const pytorch = names.filter((name) => /^pytorch_model.*\.bin$/.test(name)).sort()
  checkNumbers(dir, pytorch)
  const vmoe = names.filter((name) => name.endsWith('.index'))
  if (pytorch.length === 0 && vmoe.length !== 1)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: folder must hold pytorch_model*.bin, or one .index file of V-MoE, got ${vmoe.length || 'none'}`,
    )
  return { pytorch, vmoe: vmoe[0], others: names.filter((name) => !isWeights(name)) }
}

/** A safetensors file and where its tensors come from. */
interface Part {
  file: string
  sources: readonly Described[]
  /** Their bytes, tensor by tensor. */
  pieces(): AsyncGenerator<Uint8Array>
}

async function* pytorchPieces(label: string, sources: Source[]): AsyncGenerator<Uint8Array> {
  const from = await open(label).catch(unreadable(`${label}: file`))
  try {
    for (const { offset, bytes } of sources)
      for (let done = 0; done < bytes; done += pieceBytes) {
        const length = Math.min(pieceBytes, bytes - done)
        yield new Uint8Array((await readAt(from, label, offset + done, length)).buffer)
      }
  } finally {
    await from.close()
  }
}

/** What every file holds; nothing is written before all of it is valid. */
async function pytorchParts(dir: string, weights: string[]): Promise<Part[]> {
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
    const sources = await readPyTorch(from, label).finally(() => from.close())
    for (const source of sources) {
      if (seen.has(source.name))
        throw new MoeError(
          'ERR_MOE_CHECKPOINT',
          `${label}: tensor ${source.name} must be in one file, got it in two`,
        )
      seen.add(source.name)
    }
    parts.push({ file, sources, pieces: () => pytorchPieces(label, sources) })
  }
  return parts
}

async function vmoePart(index: string): Promise<Part> {
  const { readVmoe } = await import('./vmoe.ts') // few need its reader
  const sources = await readVmoe(index)
  async function* pieces() {
    for (const tensor of sources) yield tensor.data()
  }
  return { file: 'model.safetensors', sources, pieces }
}

/**
 * Turns a PyTorch checkpoint (`pytorch_model*.bin`) into safetensors, tensor by tensor, without executing
 * anything of the pickle; or one of google-research/vmoe (`NAME.index`, `NAME.data-iiiii-of-nnnnn`), whose
 * parameters are all in memory meanwhile. Configuration and tokenizer files are copied.
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
  const { pytorch, vmoe, others } = await listSources(dir)
  const parts =
    pytorch.length > 0 ? await pytorchParts(dir, pytorch) : [await vmoePart(path.join(dir, vmoe!))]
  const totalBytes = parts.flatMap(({ sources }) => sources).reduce((n, s) => n + s.bytes, 0)
  let convertedBytes = 0
  const output = new Output('convertCheckpoint', out)
  await output.open()
  try {
    for (const { file, sources, pieces } of parts)
      await output.file(file, async (append) => {
        await append(safetensorsHeader(sources))
        for await (const piece of pieces()) {
          signal?.throwIfAborted()
          await append(piece)
          convertedBytes += piece.length
          onProgress?.({ convertedBytes, totalBytes, file })
        }
      })
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
