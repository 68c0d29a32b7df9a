import { describeModel } from '../models/index.ts'
import type { Tensor, WeightFormat } from '../native.ts'
import type { Checkpoint } from '../weights/checkpoint.ts'
import { CheckpointWeights } from '../weights/checkpoint_weights.ts'
import { isQuantized, type Part } from '../weights/formats.ts'
import type { Rows, Share } from '../weights/weights.ts'

/** What a model's graph does with a tensor of its checkpoint. */
export interface Use {
  /** Of matrices: what for, and in which format it would be as the file has it. */
  parts: Map<Part, WeightFormat>
  /** Also as something that is no matrix, such as an embedding table. */
  otherwise: boolean
  /** As a matrix whose rows are not the file's: transposed, or with zeros around. */
  reshaped: boolean
}

/** Learns what the graph asks for; nothing is loaded. */
class Survey extends CheckpointWeights {
  readonly uses = new Map<string, Use>()

  useOf(name: string): Use {
    const known = this.uses.get(name) ?? { parts: new Map(), otherwise: false, reshaped: false }
    this.uses.set(name, known)
    return known
  }

  override table(name: string, shape: number[], share?: Share): Tensor {
    this.useOf(name).otherwise = true
    return super.table(name, shape, share)
  }

  protected override loadVectors(rows: Rows[], out: Tensor, scale: number): void {
    for (const { name } of rows) this.useOf(name).otherwise = true
    super.loadVectors(rows, out, scale)
  }

  protected override matrixFormat(rows: Rows[], part: Part): WeightFormat {
    const format = super.matrixFormat(rows, part)
    for (const { name, transposed, padded, turned } of rows) {
      const use = this.useOf(name)
      use.parts.set(part, format)
      use.reshaped ||= isQuantized(part) && Boolean(transposed || padded || turned)
    }
    return format
  }
}

/** What the checkpoint's graph does with each tensor. Checks names, shapes and dtypes of all. */
export function surveyCheckpoint(checkpoint: Checkpoint): Map<string, Use> {
  const survey = new Survey(checkpoint, 'f32')
  try {
    describeModel(checkpoint.config).build(survey, {})
    survey.checkNames()
  } finally {
    for (const tensor of survey.tensors) tensor.release()
  }
  return survey.uses
}
