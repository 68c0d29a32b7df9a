import { describePhatgoose } from '../adapters/phatgoose.ts'
import { availableMemory, type Device, devices, openDevice } from '../device.ts'
import { modulesOf } from '../layers/projection.ts'
import type { LayerInfo } from '../layers/step.ts'
import type { LoadModelOptions } from '../load_options.ts'
import type { CheckpointConfig } from '../weights/checkpoint.ts'
import type { Entry } from '../weights/safetensors.ts'
import { size } from './progress.ts'

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

const freeBytes = ({ gpu }: Device): number => gpu?.freeMemory() ?? availableMemory()

/** On which devices here so many bytes would find room: as JSON, and as rows. */
export async function fitsHere(neededBytes: number) {
  const found = (await devices()).filter(({ available }) => available)
  const fits = found.map(({ type, index, name }) => {
    const device = type === 'cpu' ? ('cpu' as const) : (`cuda:${index!}` as const)
    const free = freeBytes(openDevice(device))
    return { device, name, fits: neededBytes <= free, freeBytes: free, neededBytes }
  })
  const rows = fits.map((fit): [string, string] => [
    `fits ${fit.device}`,
    `${fit.fits ? 'yes' : 'no'}: ${size(fit.neededBytes)} of ${size(fit.freeBytes)}`,
  ])
  return { fits, rows }
}

/** Low-rank experts beside a folder's modules: as JSON, and as rows. */
export function lowRankFacts(
  { said, entries }: InfoRequest,
  layers: readonly LayerInfo[],
  { gpu }: Device,
): Facts {
  const found = entries && describePhatgoose(said.dir, modulesOf(layers), gpu)
  if (!found) return { json: {}, rows: [] }
  const { experts, rank, modules, topK, bytes } = found
  const text = `PHATGOOSE: ${experts} of rank ${rank} beside each of ${modules} modules, top ${topK}, ${size(bytes)}`
  return { json: { phatgoose: found }, rows: [['LoRA experts', text]] }
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
