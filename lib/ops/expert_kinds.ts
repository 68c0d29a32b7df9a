/** Kinds of experts (MoE++, arXiv:2410.07348, section 3.2). */
export type ExpertKind = 'ffn' | 'zero' | 'copy' | 'constant'

/** In the order of csrc/ops/combine.h. */
export const expertKinds: readonly ExpertKind[] = ['ffn', 'zero', 'copy', 'constant']

/** Group of each expert in the grouped GEMM: FFN experts count up, the others have none (-1). */
export function ffnGroups(kinds: readonly ExpertKind[]): number[] {
  let next = 0
  return kinds.map((kind) => (kind === 'ffn' ? next++ : -1))
}
