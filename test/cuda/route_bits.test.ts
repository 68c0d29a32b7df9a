import { describe, expect, it } from 'vitest'
import type { ExpertKind } from '../../lib/index.ts'
import { OneOp } from '../../lib/one_op.ts'
import * as ops from '../../lib/ops/index.ts'
import { type DType, Random } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

describe.each(gpus)('a route in one launch on $name', ({ device }) => {
  const shapes = [5, 16, 17, 32].flatMap((E) =>
    [1, 8].flatMap((T) =>
      (['f32', 'bf16'] as const).flatMap((dtype) =>
        (['f32', 'bf16'] as const).map((stored) => ({ E, T, dtype, stored })),
      ),
    ),
  )

  /** Outputs of the one op, or of the ops that it is made of. */
  const run = async (
    { E, T, dtype, stored }: { E: number; T: number; dtype: DType; stored: DType },
    together: boolean,
  ) => {
    const one = new OneOp('test', { device })
    const random = new Random(E + T)
    const H = 70
    const input = (name: string, shape: number[]) => one.input(name, random.tensor(shape, 'f32'))
    const norm = { x: input('x', [T, H]), weight: input('norm', [H]), eps: 1e-5, dtype }
    const previous = input('previous', [T, E])
    const weight = await one.weight('weight', random.tensor([E, H], stored, 0.2))
    const gateMap = await one.weight('gateMap', random.tensor([E, E], stored, 0.3))
    const kinds = Array<ExpertKind>(E).fill('ffn')
    const choice: ops.TopKOptions = { kinds, topK: 2, weights: 'renormalized', normStd: 1 }
    const { plan } = one
    if (together)
      return one.run({
        ...ops.route(plan, norm, weight, { ...choice, carried: { previous, gateMap } }),
      })
    const normed = ops.rmsNorm(plan, norm.x, norm.weight, norm.eps, dtype)
    const residual = ops.linear(plan, previous, gateMap, 'f32')
    const logits = ops.linear(plan, normed, weight, 'f32', { residual })
    return one.run({ normed, logits, ...ops.topK(plan, logits, choice) })
  }

  it.each(shapes)(
    '$E experts, $T tokens, $dtype, weights $stored: bits of the ops',
    async (shape) => {
      expect(await run(shape, true)).toEqual(await run(shape, false))
    },
  )
})
