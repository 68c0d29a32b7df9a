import type { Plan, Tensor } from '../native.ts'
import type { Choice, NormInput } from '../ops/index.ts'

/** What a router decides, for every token. */
export interface Routing extends Choice {
  /** [T, E] f32, before any softmax or normalisation; what MoE++ carries to the next layer */
  logits: Tensor
  /** [T, H], the normed input that router and experts share */
  normed: Tensor
}

/**
 * Chooses experts. Ids of a token are distinct, equal logits go to the lower id, and a token's routing
 * depends on that token alone. test/routers/contract.ts holds every router to this.
 */
export interface Router {
  /**
   * @param input    of the MoE block, before its norm
   * @param previous routing of the layer below; undefined in the first layer
   */
  route(plan: Plan, input: NormInput, previous?: Routing): Routing
}
