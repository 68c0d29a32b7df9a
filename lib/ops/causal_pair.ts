import type { Plan, Tensor } from '../native.ts'

/**
 * Each token's row beside the row of the token before it, interleaved: `out[t, 2c] = previous(t)[c]`,
 * `out[t, 2c + 1] = x[t, c]`. A causal two-tap convolution of x is then one `linear`, with the
 * convolution weight [out, in, 2, 1] as it stands.
 *
 * @param x     [T, C] f32 | bf16
 * @param state [blocks, C]: row of the last token of each cache block; read at the start of a chunk, updated
 * @returns     [T, 2C], dtype of x
 */
export function causalPair(
  plan: Plan,
  x: Tensor,
  state: Tensor,
  at: { positions: Tensor; slots: Tensor; sequences: Tensor; blockTable: Tensor },
): Tensor {
  const [T, C] = x.shape
  const out = plan.empty([T!, 2 * C!], x.dtype)
  plan.causalPair(x, state, at.positions, at.slots, at.sequences, at.blockTable, out)
  return out
}
