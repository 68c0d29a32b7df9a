import { createHash } from 'node:crypto'
import { MoeError, shown } from '../errors.ts'
import type { Entry } from './safetensors.ts'
import type { Rows } from './weights.ts'

/** What a file of packed matrices calls itself, in its metadata and in the `quant_method` of config.json. */
export const panelsFormat = 'moe-native-panels'

/** Raised when the bytes of a panel change (csrc/weights/formats) or what names a matrix. */
export const panelsVersion = '1'

/** Such a file: safetensors whose matrices are bytes as they lie in memory, on every CPU the same. */
export interface PanelsFile {
  /** Names of the original that the graph asked for and found. */
  found: ReadonlySet<string>
}

/** The name of a packed matrix: which rows it has, in order. Its format stands before it. */
export function panelKey(rows: Rows[], gateUp: boolean): string {
  const runs = rows.map(({ name, shape, slab, start, count, step = 1, ...rest }) => [
    ...[name, shape, slab ?? null, start, count, step],
    ...[rest.transposed ?? false, rest.turned ?? false, rest.padded ?? null],
  ])
  const hash = createHash('sha256')
    .update(JSON.stringify([gateUp, runs]))
    .digest('hex')
  return `${rows[0]!.name} ${hash.slice(0, 24)}`
}

/**
 * What the files of a checkpoint say, if they are of packed matrices.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for another version, or a file of another kind among them
 */
export function panelsOf(entries: ReadonlyMap<string, Entry>): PanelsFile | undefined {
  const packed = [...entries.values()].find(({ metadata }) => metadata.format === panelsFormat)
  if (!packed) return undefined
  const found = new Set<string>()
  const bad = (label: string, what: string, expected: string, got: unknown): never => {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: ${what} must be ${expected}, got ${shown(got)}; ` +
        'write the folder again with moe-native quantize --packed',
    )
  }
  for (const { label, metadata } of new Map(
    [...entries.values()].map((entry) => [entry.label, entry]),
  ).values()) {
    const { format, version, found: names } = metadata
    if (format !== panelsFormat) bad(label, 'format', `"${panelsFormat}"`, format)
    if (version !== panelsVersion)
      bad(label, 'version of panels', `"${panelsVersion}" for this moe-native`, version)
    if (typeof names !== 'string') bad(label, 'found', 'a list of names', names)
    for (const name of (names as string).split('\n')) if (name) found.add(name)
  }
  return { found }
}
