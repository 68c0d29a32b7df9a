import { MoeError } from '../errors.ts'
import { type Gpu, native, type Tensor, type Weight, type WeightFormat } from '../native.ts'
import type { Checkpoint } from './checkpoint.ts'
import { CheckpointWeights } from './checkpoint_weights.ts'
import type { Part, WeightsChoice } from './formats.ts'
import { type PanelsFile, panelKey } from './panels.ts'
import type { Entry } from './safetensors.ts'
import type { Rows } from './weights.ts'

/** Weights of a folder of packed matrices, which stay in the mapped files: nothing is copied. */
export class PackedWeights extends CheckpointWeights {
  readonly #dir: string
  readonly #panels: PanelsFile
  readonly #byKey = new Map<string, { entry: Entry; format: WeightFormat }>()
  readonly #mapped = new Set<Tensor | Weight>()

  /** @throws {MoeError} ERR_MOE_UNSUPPORTED on a GPU and for other formats than the file's */
  constructor(checkpoint: Checkpoint, panels: PanelsFile, gpu?: Gpu, weights?: WeightsChoice) {
    super(checkpoint, 'f32', gpu)
    this.#dir = checkpoint.dir
    this.#panels = panels
    const refuse = (message: string): never => {
      throw new MoeError('ERR_MOE_UNSUPPORTED', `${checkpoint.dir}: ${message}`)
    }
    if (gpu) refuse('device must be cpu for packed weights, got a GPU')
    if (weights !== undefined && weights !== 'auto')
      refuse(`weights must be 'auto' for packed weights, got "${weights}"`)
    for (const entry of checkpoint.entries.values()) {
      const [format, ...key] = entry.name.split(' ')
      if (key.length === 2)
        this.#byKey.set(key.join(' '), { entry, format: format as WeightFormat })
    }
  }

  override has(name: string): boolean {
    return super.has(name) || this.#panels.found.has(name)
  }

  protected override makeWeight(
    rows: Rows[],
    shape: [N: number, K: number],
    _part: Part,
    gateUp: boolean,
  ): Weight {
    const key = panelKey(rows, gateUp)
    const found = this.#byKey.get(key)
    if (!found)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${this.#dir}: packed matrix ${key} must be there, got nothing; ` +
          'write the folder again with moe-native quantize --packed',
      )
    const { entry, format } = found
    this.use(entry.name)
    const weight = new (native().Weight)(shape, format, gateUp)
    if (entry.storedDtype !== 'U8' || entry.bytes !== weight.bytes)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${entry.label}: ${entry.name} must be U8 of ${weight.bytes} bytes for [${shape.join(', ')}], ` +
          `got ${entry.storedDtype} of ${entry.bytes}`,
      )
    weight.map(entry.file, entry.offset)
    this.#mapped.add(weight)
    return weight
  }

  protected override loadMatrices(): void {}

  /** What is mapped takes no memory that must be there. */
  protected override own<T extends Tensor | Weight>(handle: T): T {
    const { bytes } = this
    super.own(handle)
    if (this.#mapped.has(handle)) this.bytes = bytes
    return handle
  }
}
