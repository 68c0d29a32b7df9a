import type { Plan, Tensor } from '../native.ts'
import type { TopKOutputs } from '../ops/index.ts'

/** What a router decides, for every token. */
export interface Routing extends TopKOutputs {
  /** [T, E] f32, before any softmax or normalisation; what MoE++ carries to the next layer */
  logits: Tensor
}

/**
 * Chooses experts. Ids of a token are distinct, equal logits go to the lower id, and a token's routing
 * depends on that token alone. test/routers/contract.ts holds every router to this.
 */
export interface Router {
  /**
   * @param x        [T, H], the normed input that router and experts share
   * @param previous routing of the layer below; undefined in the first layer
   */
  route(plan: Plan, x: Tensor, previous?: Routing): Routing
}
