import type { Gpu, Tensor } from '../native.ts'
import type { WeightsChoice } from './formats.ts'
import type { Json } from './json.ts'
import { RandomWeights } from './random_weights.ts'
import type { Share } from './weights.ts'

/** What a checkpoint's weights would take: on the CPU an embedding table stays in its file. */
export class AbsentWeights extends RandomWeights {
  override table(name: string, shape: number[], share?: Share): Tensor {
    const { bytes } = this
    const out = super.table(name, shape, share)
    if (!this.gpu) this.bytes = bytes
    return out
  }
}

/** Handles of what is asked for, or of the element type that a configuration names. */
export function absentWeights(
  json: Json,
  gpu?: Gpu,
  weights: WeightsChoice = 'auto',
): RandomWeights {
  const own = /float32$/.test(String(json.dtype ?? json.torch_dtype)) ? 'f32' : 'bf16'
  return new AbsentWeights(weights === 'auto' ? own : weights, 0, gpu)
}
