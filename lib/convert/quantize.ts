import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, signalOption } from '../options.ts'
import { type Checkpoint, openCheckpoint } from '../weights/checkpoint.ts'
import type { Json } from '../weights/json.ts'
import { checkpointFolder } from '../weights/mistakes.ts'
import { panelsFormat, panelsOf, panelsVersion } from '../weights/panels.ts'
import { checkPath, isInside, isWeights, listFiles } from './folders.ts'
import { Output } from './output.ts'
import { planPackedShards } from './packed_shards.ts'
import { planShards } from './quantize_shards.ts'
import { type Recipe, readRecipe, recipeRule } from './recipe.ts'
import type { Shard } from './shard.ts'
import { surveyCheckpoint } from './survey.ts'

/** How far quantising has come, over all files: bytes of the checkpoint that was read, or of packed files written. */
export interface QuantizeProgress {
  quantizedBytes: number
  totalBytes: number
  /** The file that is written. */
  file: string
}

/** Options of `quantizeCheckpoint`. */
export interface QuantizeOptions {
  /**
   * `int8`: every matrix of experts, attention, dense blocks and the head, in 8 bits with a scale for each row. `int4`:
   * experts in 4 bits with a scale for each group of a row, the other matrices in 8. With `packed` also `bf16`, and
   * `auto`: as the checkpoint has them.
   */
  format: 'int8' | 'int4' | 'bf16' | 'auto'
  /** Values of a row that share a scale of int4. Default 32; with 128, rows that it does not divide take 32. */
  group?: 32 | 128 | undefined
  /** Attention's projections; `bf16`: as they are. Default `int8`. */
  attention?: 'int8' | 'int4' | 'bf16' | undefined
  /** The matrix that logits come from; `bf16`: as it is. Default `int8`. */
  head?: 'int8' | 'int4' | 'bf16' | undefined
  /**
   * Write matrices as they lie in memory, which this version of this library alone reads, on a CPU: loading copies
   * nothing, takes as long as opening files, and processes share the memory. Default false.
   */
  packed?: boolean | undefined
  /** Called after each piece of a tensor. */
  onProgress?: ((progress: QuantizeProgress) => void) | undefined
  /** Aborts; the call rejects with the signal's reason. Files that are whole stay for the next call. */
  signal?: AbortSignal | undefined
}

const where = 'quantizeCheckpoint'
const optionNames: OptionNames<QuantizeOptions> = {
  ...{ format: true, group: true, attention: true, head: true, packed: true },
  ...{ onProgress: true, signal: true },
}

/** Lies in a folder until all of it is there, and says what of. */
const stateFile = '.moe-native-quantize.json'

/** What a result depends on; files whose state is the same may be taken over. */
function stateOf({ entries }: Checkpoint, recipe: Recipe, shards: readonly Shard[]): string {
  const sources = [...entries.values()].map(({ name, label, offset, bytes, file }) => [
    ...[path.basename(label), file.bytes, name, offset, bytes],
  ])
  return JSON.stringify({
    version: panelsVersion,
    recipe,
    files: shards.map(({ file }) => file),
    sources,
  })
}

function checkFloats({ dir, quantization }: Checkpoint): void {
  if (!quantization) return
  const { quant_method: method = 'gptq' } = quantization
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `${dir}: weights must be f32, f16 or bf16, got a checkpoint that is quantised (${method}); it loads as it is`,
  )
}

async function checkOut(dir: string, out: string): Promise<void> {
  if (await isInside(out, dir)) badOption(where, 'out', 'a folder outside the checkpoint', out)
}

/**
 * Writes a checkpoint with quantised matrices, file by file, in the layout of compressed-tensors. Loading it gives the
 * numbers of loading the original with `weights: format`. Configuration and tokenizer files are copied. A call that was
 * killed or aborted is taken up where it was by the same call.
 *
 * @param from the folder of a checkpoint of floats; with `packed`, of any
 * @param out a folder that does not exist or is empty
 * @throws {MoeError} ERR_MOE_CHECKPOINT for files that are damaged or cannot be read and for weights that are not
 *   finite, ERR_MOE_UNSUPPORTED for a checkpoint that is quantised or stores matrices in an order that the layout does
 *   not have, ERR_MOE_OPTION when `out` has files, is in `from` or cannot be written
 */
export async function quantizeCheckpoint(
  from: string | URL,
  out: string,
  options: QuantizeOptions,
): Promise<void> {
  const dir = checkpointFolder(where, from)
  checkPath(where, 'out', out)
  checkOptions(where, options, optionNames)
  const { onProgress, signal: given } = options
  const recipe = readRecipe(where, options)
  const signal = signalOption(where, given)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    badOption(where, 'onProgress', 'a function', onProgress)
  signal?.throwIfAborted()
  await checkOut(dir, out)
  const checkpoint = openCheckpoint(dir)
  const { shards, quantization } = plan(checkpoint, recipe)
  const others = (await listFiles(dir)).filter(
    (name) => !isWeights(name) && name !== 'quantize_config.json',
  )
  await writeAll({ checkpoint, out, recipe, shards, quantization, others, onProgress, signal })
}

function plan(checkpoint: Checkpoint, recipe: Recipe): Pick<Work, 'shards' | 'quantization'> {
  if (!recipe.packed) checkFloats(checkpoint)
  if (panelsOf(checkpoint.entries))
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${checkpoint.dir}: weights must be those of a checkpoint, got packed ones`,
    )
  const uses = surveyCheckpoint(checkpoint) // of all names, before anything is written
  if (!recipe.packed) return planShards(checkpoint, uses, recipe)
  const shards = planPackedShards(checkpoint, recipeRule(recipe))
  return { shards, quantization: { quant_method: panelsFormat } }
}

interface Work extends Pick<QuantizeOptions, 'onProgress' | 'signal'> {
  checkpoint: Checkpoint
  out: string
  recipe: Recipe
  shards: readonly Shard[]
  quantization: Json
  others: string[]
}

async function writeAll(work: Work): Promise<void> {
  const { checkpoint, out, recipe, shards, quantization, others, onProgress, signal } = work
  const state = stateOf(checkpoint, recipe, shards)
  const known = await readFile(path.join(out, stateFile), 'utf8').catch(() => undefined)
  const own = new Set([stateFile, ...shards.map(({ file }) => file), ...others])
  const there = known === state ? await listFiles(out) : []
  const output = new Output(where, out)
  await output.open((name) => known === state && (own.has(name) || name.endsWith('.index.json')))
  const totalBytes = shards.reduce((n, { bytes }) => n + bytes, 0)
  let quantizedBytes = 0
  try {
    if (known !== state) {
      await output.file(stateFile, (append) => append(Buffer.from(state)))
      await output.publish(stateFile)
    }
    for (const shard of shards) {
      const onBytes = (n: number) => {
        quantizedBytes += n
        onProgress?.({ quantizedBytes, totalBytes, file: shard.file })
        signal?.throwIfAborted()
      }
      if (there.includes(shard.file)) {
        onBytes(shard.bytes)
        continue
      }
      await output.file(shard.file, (append) => shard.write(append, onBytes, signal))
      await output.publish(shard.file, { keep: true })
    }
    const parts = shards.map(({ file, tensors }) => ({ file, sources: tensors }))
    const outBytes = shards.flatMap(({ tensors }) => tensors).reduce((n, { bytes }) => n + bytes, 0)
    if (shards.length > 1) await output.index(parts, outBytes)
    await output.json('config.json', { ...checkpoint.config, quantization_config: quantization })
    for (const name of others.filter((name) => name !== 'config.json'))
      await output.copy(path.join(checkpoint.dir, name), name)
    signal?.throwIfAborted()
    await output.finish()
    await output.remove(stateFile)
  } catch (error) {
    await output.discard()
    throw error
  }
}
