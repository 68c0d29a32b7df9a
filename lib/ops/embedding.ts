import type { Plan, Tensor } from '../native.ts'

/**
 * Rows of the embedding table: `out[t] = table[ids[t]]`.
 *
 * @param table [V, H] f32 | bf16 | f16
 * @param ids   [T] i32
 * @returns     [T, H] f32
 */
export function embedding(plan: Plan, table: Tensor, ids: Tensor): Tensor {
  const out = plan.empty([ids.shape[0]!, table.shape[1]!], 'f32')
  plan.embedding(table, ids, out)
  return out
}
