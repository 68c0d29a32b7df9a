import type { LoadModelOptions } from '../load_options.ts'
import { isVision } from '../vision/vision_transformer.ts'
import { type CheckpointConfig, openCheckpoint, openConfig } from '../weights/checkpoint.ts'
import { weightFile } from '../weights/mistakes.ts'
import type { Entry } from '../weights/safetensors.ts'
import { decoderFacts } from './decoder_facts.ts'
import { modelFolder } from './load.ts'
import { loadOptions, modelDir, modelHelp, modelOptions, parse, printJson } from './options.ts'
import { size } from './progress.ts'
import { rows } from './rows.ts'
import { visionFacts } from './vision_facts.ts'

export const help = `moe-native info: what a checkpoint is, what it needs, and whether it fits here

  moe-native info
  moe-native info --model DIR --json

Reads no weights; a config.json is enough.

${modelHelp}`

/** What a folder says, and how it is asked for. */
export interface InfoRequest {
  said: CheckpointConfig
  /** Absent: there is only a config.json. */
  entries: Map<string, Entry> | undefined
  options: LoadModelOptions
}

/** What is printed: as JSON, and as lines. */
export interface Facts {
  json: object
  rows: [name: string, text: string][]
}

export const billions = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toFixed(2)} billion` : `${(n / 1e6).toFixed(2)} million`

/** Bytes of the file in each element type, the most first. */
export function elementTypes(entries: Map<string, Entry> | undefined): Record<string, number> {
  const bytes = new Map<string, number>()
  for (const { storedDtype: type, bytes: n } of entries?.values() ?? [])
    bytes.set(type, (bytes.get(type) ?? 0) + n)
  return Object.fromEntries([...bytes].sort((a, b) => b[1] - a[1]))
}

/** `BF16`, or with shares where there are several. */
export function elementText(types: Record<string, number>): string {
  const all = Object.values(types).reduce((sum, n) => sum + n, 0)
  const names = Object.entries(types)
  if (names.length <= 1) return `${names[0]?.[0] ?? 'nothing'}, ${size(all)}`
  const parts = names.map(([type, n]) => {
    const share = (100 * n) / all
    return `${type} ${share < 0.1 ? 'under 0.1' : share.toFixed(1)} %`
  })
  return `${parts.join(', ')} of ${size(all)}`
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, modelOptions)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const options = loadOptions(values)
  const quiet = values.json === true
  const dir = await modelFolder('info', modelDir(values), { quiet, signal })
  const said = openConfig(dir)
  const hasWeights = said.files.some((name) => weightFile.test(name))
  const entries = hasWeights ? openCheckpoint(dir).entries : undefined
  const describe = isVision(said.config) ? visionFacts : decoderFacts
  const facts = await describe({ said, entries, options })
  if (quiet)
    return printJson({ dir, hasWeights, elementTypes: elementTypes(entries), ...facts.json })
  const checkpoint = hasWeights ? dir : `${dir} (no weights there, only what config.json says)`
  process.stdout.write(rows([['checkpoint', checkpoint], ...facts.rows]))
}
