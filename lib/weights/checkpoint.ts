import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { MoeError, shown } from '../errors.ts'
import { type Json, readJson } from './json.ts'
import { type Entry, openSafetensors } from './safetensors.ts'

/** What a folder in the Hugging Face layout says of its model. */
export interface CheckpointConfig {
  dir: string
  config: Json
  generationConfig: Json | undefined
  quantization: Json | undefined
  /** Names of its files. */
  files: string[]
}

/** Such a folder with its weights, opened and validated, nothing read yet. */
export interface Checkpoint extends CheckpointConfig {
  entries: Map<string, Entry>
}

const bad = (message: string): never => {
  throw new MoeError('ERR_MOE_CHECKPOINT', message)
}

function listFolder(dir: string): string[] {
  try {
    const info = statSync(dir, { throwIfNoEntry: false })
    if (!info) bad(`${dir}: folder must exist, got nothing there`)
    if (!info!.isDirectory()) bad(`${dir}: must be a folder, got a file`)
    return readdirSync(dir).sort()
  } catch (error) {
    if (error instanceof MoeError) throw error
    return bad(`${dir}: folder must be readable, got ${(error as NodeJS.ErrnoException).code}`)
  }
}

function openIndex(dir: string, indexFile: string, files: string[]): Map<string, Entry> {
  const label = path.join(dir, indexFile)
  const map = readJson(label)?.weight_map
  if (typeof map !== 'object' || map === null)
    bad(`${label}: weight_map must be an object, got ${shown(map)}`)
  const weightMap = Object.entries(map as Json)
  const entries = new Map<string, Entry>()
  for (const shard of new Set(weightMap.map(([, file]) => file))) {
    if (typeof shard !== 'string' || path.basename(shard) !== shard)
      bad(`${label}: weight_map must name files of this folder, got ${shown(shard)}`)
    if (!files.includes(shard as string))
      bad(`${path.join(dir, shard as string)}: file must exist, got nothing there`)
    for (const entry of openSafetensors([path.join(dir, shard as string)]).values()) {
      const twin = entries.get(entry.name)
      if (twin)
        bad(`${entry.label}: tensor ${entry.name} must be in one file, got it in ${twin.label} too`)
      entries.set(entry.name, entry)
    }
  }
  for (const [name, file] of weightMap) {
    const entry = entries.get(name)
    if (!entry || path.basename(entry.label) !== file)
      bad(
        `${path.join(dir, file as string)}: tensor ${name} must be there, as ${indexFile} says, got nothing`,
      )
  }
  return entries
}

/** Files of the folder that are `base` itself or its byte split `base00`, `base01`, …, in order. */
function partsOf(base: string, files: string[]): string[] {
  if (files.includes(base)) return [base]
  const parts = files.filter((f) => f.startsWith(base) && /^\d+$/.test(f.slice(base.length)))
  return parts.sort((a, b) => Number(a.slice(base.length)) - Number(b.slice(base.length)))
}

function openWeights(
  dir: string,
  files: string[],
  quantization: Json | undefined,
): Map<string, Entry> {
  const index = 'model.safetensors.index.json'
  if (files.includes(index)) {
    const entries = openIndex(dir, index, files)
    const whole = path.join(dir, 'model.safetensors')
    const used = [...entries.values()].some(({ label }) => label === whole)
    // transformers reads the file, others the index.
    if (files.includes('model.safetensors') && !used)
      bad(
        `${whole}: file must be the only weights or named in ${index}, got others there; remove what is of an earlier save`,
      )
    return entries
  }
  const names = ['model.safetensors']
  if (typeof quantization?.model_file_base_name === 'string')
    names.push(`${quantization.model_file_base_name}.safetensors`)
  for (const base of names) {
    const parts = partsOf(base, files)
    const numbers = parts.map((p) => Number(p.slice(base.length)))
    if (parts.length > 1 && numbers.some((n, i) => n !== numbers[0]! + i))
      bad(`${path.join(dir, base)}: parts must be numbered without a gap, got ${parts.join(', ')}`)
    if (parts.length > 0) return openSafetensors(parts.map((part) => path.join(dir, part)))
  }
  if (files.some((f) => /^pytorch_model.*\.bin$/.test(f)))
    bad(
      `${dir}: weights must be safetensors, got PyTorch files; run: npx moe-native convert ${dir} OUT, then load OUT`,
    )
  return bad(`${dir}: weights must be in ${index} or ${names.join(' or ')}, got neither`)
}

/**
 * Reads what a folder says of its model, which needs no weights.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT naming the file
 */
export function openConfig(dir: string): CheckpointConfig {
  const files = listFolder(dir)
  const config = readJson(path.join(dir, 'config.json'))
  if (!config)
    return bad(
      `${path.join(dir, 'config.json')}: file must exist, got nothing there; a checkpoint is a folder with ` +
        'config.json and model*.safetensors, such as `npx moe-native pull ORG/NAME` makes',
    )
  const quantization =
    readJson(path.join(dir, 'quantize_config.json')) ??
    (config.quantization_config as Json | undefined)
  const generationConfig = readJson(path.join(dir, 'generation_config.json'))
  return { dir, config, generationConfig, quantization, files }
}

/**
 * Opens a checkpoint folder and validates every header in it.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT naming the file, and the tensor where there is one
 */
export function openCheckpoint(dir: string): Checkpoint {
  const said = openConfig(dir)
  return { ...said, entries: openWeights(dir, said.files, said.quantization) }
}
