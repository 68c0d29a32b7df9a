import { describeModel } from '../models/index.ts'
import type { Tensor, Weight } from '../native.ts'
import type { Checkpoint } from '../weights/checkpoint.ts'
import { CheckpointWeights } from '../weights/checkpoint_weights.ts'
import type { FormatRule, Part } from '../weights/formats.ts'
import { panelKey, panelsFormat, panelsVersion } from '../weights/panels.ts'
import type { Rows, Share } from '../weights/weights.ts'
import { copyEntry, pieceBytes } from './quantize_shards.ts'
import { type Described, safetensorsHeader } from './safetensors_header.ts'
import type { Append, Shard } from './shard.ts'

/** Matrices that are packed together, as they are read from the same tensors. */
interface Batch {
  each: { rows: Rows[]; out: Weight }[]
  names: string[]
}

/** Bytes of a file, but for a batch that is larger. */
const shardBytes = 2 ** 31

/** Packs what the graph asks for, a batch at a time and nothing before it is written. */
class PanelSource extends CheckpointWeights {
  readonly batches: Batch[] = []
  /** Tensors that are copied as they are. */
  readonly kept = new Set<string>()
  readonly found = new Set<string>()
  readonly #keys = new Map<Weight, string>()

  override has(name: string): boolean {
    const there = super.has(name)
    if (there) this.found.add(name)
    return there
  }

  override table(name: string, shape: number[], share?: Share): Tensor {
    this.kept.add(name)
    return super.table(name, shape, share)
  }

  protected override loadVectors(rows: Rows[], out: Tensor, scale: number): void {
    for (const { name } of rows) this.kept.add(name)
    super.loadVectors(rows, out, scale)
  }

  protected override makeWeight(
    rows: Rows[],
    shape: [N: number, K: number],
    part: Part,
    gateUp: boolean,
  ): Weight {
    const weight = super.makeWeight(rows, shape, part, gateUp)
    this.#keys.set(weight, `${weight.format} ${panelKey(rows, gateUp)}`)
    return weight
  }

  protected override loadMatrices(each: Batch['each']): void {
    this.batches.push({ each, names: each.map(({ out }) => this.#keys.get(out)!) })
  }

  async pack({ each }: Batch, signal: AbortSignal | undefined): Promise<void> {
    super.loadMatrices(each)
    await this.load({ signal })
  }
}

const described = ({ each, names }: Batch): Described[] =>
  each.map(({ out }, i) => ({
    name: names[i]!,
    ...{ dtype: 'U8', shape: [out.bytes], bytes: out.bytes },
  }))

/** Files of matrices as they lie in memory; the last one also has the tensors that stay as they are. */
export function planPackedShards(checkpoint: Checkpoint, rule: FormatRule): Shard[] {
  const source = new PanelSource(checkpoint, 'f32', undefined, rule)
  describeModel(checkpoint.config).build(source, {})
  const groups: Batch[][] = [[]]
  let size = 0
  for (const batch of source.batches) {
    const bytes = batch.each.reduce((n, { out }) => n + out.bytes, 0)
    if (size > 0 && size + bytes > shardBytes) {
      groups.push([])
      size = 0
    }
    groups.at(-1)!.push(batch)
    size += bytes
  }
  const kept = [...source.kept].map((name) => checkpoint.entries.get(name)!)
  const metadata = {
    ...{ format: panelsFormat, version: panelsVersion },
    found: [...source.found].join('\n'),
  }
  const pad = (n: number) => String(n).padStart(5, '0')
  return groups.map((batches, i): Shard => {
    const last = i === groups.length - 1 ? kept : []
    const tensors = [
      ...batches.flatMap(described),
      ...last.map(({ name, storedDtype: dtype, shape, bytes }) => ({ name, dtype, shape, bytes })),
    ]
    return {
      file:
        groups.length === 1
          ? 'model.safetensors'
          : `model-${pad(i + 1)}-of-${pad(groups.length)}.safetensors`,
      tensors,
      bytes: tensors.reduce((n, { bytes }) => n + bytes, 0),
      async write(append: Append, each, signal) {
        await append(safetensorsHeader(tensors, metadata, 4096))
        for (const batch of batches) {
          await source.pack(batch, signal)
          for (const { out } of batch.each) {
            for (let at = 0; at < out.bytes; at += pieceBytes) {
              const length = Math.min(pieceBytes, out.bytes - at)
              await append(out.read(at, length))
              each(length)
            }
            out.release()
          }
        }
        for (const entry of last) await copyEntry(entry, append, each)
      },
    }
  })
}
