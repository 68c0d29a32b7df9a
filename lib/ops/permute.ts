import type { Plan, Tensor } from '../native.ts'

/** Kinds of experts (MoE++, arXiv:2410.07348, section 3.2), in the order of csrc/ops/combine.h. */
export const expertKinds = ['ffn', 'zero', 'copy', 'constant'] as const
export type ExpertKind = (typeof expertKinds)[number]

/** Group of each expert in the grouped GEMM: FFN experts count up, the others have none (-1). */
export function ffnGroups(kinds: readonly ExpertKind[]): number[] {
  let next = 0
  return kinds.map((kind) => (kind === 'ffn' ? next++ : -1))
}

/**
 * Token rows grouped by expert, in token order inside an expert: `permuted[rows[t, k]] = scale * x[t]`.
 *
 * @param x   [T, H] f32 | bf16
 * @param ids [T, K] i32
 * @returns   permuted [T * K, H]; offsets [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1];
 *            rows [T, K] i32, -1 for experts without a group
 */
export function permute(
  plan: Plan,
  x: Tensor,
  ids: Tensor,
  kinds: readonly ExpertKind[],
  scale = 1,
): { permuted: Tensor; offsets: Tensor; rows: Tensor } {
  const groups = ffnGroups(kinds)
  const numGroups = groups.filter((g) => g >= 0).length
  const [T, K] = ids.shape
  const permuted = plan.empty([T! * K!, x.shape[1]!], x.dtype)
  const offsets = plan.empty([numGroups + 1], 'i32')
  const rows = plan.empty([T!, K!], 'i32')
  plan.permute(x, ids, groups, numGroups, scale, permuted, offsets, rows)
  return { permuted, offsets, rows }
}
