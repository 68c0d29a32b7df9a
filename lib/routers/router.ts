import type { Step } from '../models/architecture.ts'
import type { Tensor } from '../native.ts'

/** What a router decides, for every token. */
export interface Routing {
  /** [T, K] i32, best first */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [T, E] f32, before any softmax or normalisation; what MoE++ carries to the next layer */
  logits: Tensor
}

/**
 * Chooses experts. Ids of a token are distinct, equal logits go to the lower id, and a token's routing
 * depends on that token alone. test/routers/contract.ts holds every router to this.
 */
export interface Router {
  /**
   * @param x        [T, H], input of the MoE block
   * @param previous routing of the layer below; undefined in the first layer
   */
  route(step: Pick<Step, 'plan'>, x: Tensor, previous?: Routing): Routing
}
