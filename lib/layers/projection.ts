import type { ActivationDType, Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Part } from '../weights/formats.ts'
import { evenFirst, rowsOf, type Weights } from '../weights/weights.ts'

/** A linear module of the published graph: what adapters add to. */
export interface Module {
  /** As the checkpoint has it, without `.weight`. */
  name: string
  inputs: number
  outputs: number
}

/** Those of all layers. */
export const modulesOf = (
  layers: readonly { modules?: readonly Module[] | undefined }[],
): Module[] => layers.flatMap(({ modules = [] }) => modules)

/** Low-rank matrices beside modules. */
export interface LowRank {
  /**
   * residual + scale * what is added to `modules`, which lie side by side [T, sum of outputs] f32; the residual where
   * that is nothing.
   *
   * @param x [T, inputs]
   */
  add(
    plan: Plan,
    x: Tensor,
    modules: readonly Module[],
    residual?: Tensor | undefined,
    scale?: number | undefined,
  ): Tensor | undefined
}

export interface ProductOptions {
  /** [T, outputs] f32 */
  residual?: Tensor | undefined
  /** Of the product, and of what is added to it. */
  scale?: number | undefined
  /** Of the result; default f32. */
  dtype?: ActivationDType | undefined
}

export interface ProjectionOptions {
  /** Names behind the prefix, their outputs, and the size of heads whose neighbours the file rotates. */
  parts: readonly (readonly [name: string, outputs: number, neighbours?: number | undefined])[]
  inputs: number
  bias?: boolean | undefined
  part: Part
}

/** Modules that read the same rows, as one product; what is low-rank beside them goes into its residual. */
export class Projection {
  readonly modules: readonly Module[]
  readonly #weight: Weight
  readonly #bias: Tensor | undefined

  constructor(
    weights: Weights,
    prefix: string,
    { parts, inputs, bias = false, part }: ProjectionOptions,
  ) {
    this.modules = parts.map(([name, outputs]) => ({ name: `${prefix}.${name}`, inputs, outputs }))
    const rows = (end: string, ...width: number[]) =>
      parts.flatMap(([name, outputs, size]) => {
        const [all, shape] = [`${prefix}.${name}.${end}`, [outputs, ...width]]
        if (size === undefined) return [rowsOf(all, shape)]
        const heads = Array.from({ length: outputs / size }, (_, n) => n * size)
        return heads.flatMap((start) => evenFirst(all, shape, start, size))
      })
    this.#weight = weights.matrix(rows('weight', inputs), { part })
    const total = parts.reduce((sum, [, outputs]) => sum + outputs, 0)
    if (bias) this.#bias = weights.gathered(rows('bias'), [total])
  }

  /** residual + scale * (x W^T + bias) [T, outputs of all modules] */
  forward(
    { plan, lowRank }: { plan: Plan; lowRank?: LowRank | undefined },
    x: Tensor,
    { residual, scale, dtype }: ProductOptions,
  ): Tensor {
    const sum = lowRank ? lowRank.add(plan, x, this.modules, residual, scale) : residual
    const product = { x, weight: this.#weight, bias: this.#bias, scale, dtype }
    return ops.linear(plan, { ...product, residual: sum }).out
  }
}
