import type { Plan, Tensor } from '../native.ts'
import type { GroupScore, TopKInputs, TopKOutputs } from '../ops/index.ts'

/** What a router decides, for every token. */
export interface Routing extends TopKOutputs {
  /** [T, E] f32, before any softmax or normalisation; what MoE++ carries to the next layer */
  logits: Tensor
}

/** What a step has for a layer's choice beside its logits: a call's changes, and where choices are counted. */
export type ChoiceInputs = Pick<TopKInputs, 'adjust' | 'adjustOf' | 'counts'>

/** Groups of neighbouring experts, of which a token may choose from the best. */
export interface ExpertGroups {
  count: number
  kept: number
  score: GroupScore
}

/**
 * Chooses experts. Ids of a token are distinct, equal logits go to the lower id, and a token's routing
 * depends on that token alone. test/routers/contract.ts holds every router to this.
 */
export interface Router {
  /**
   * @param x        [T, H], the normed input that router and experts share
   * @param previous routing of the layer below; undefined in the first layer
   * @param choice   goes to `topK`
   */
  route(plan: Plan, x: Tensor, previous?: Routing, choice?: ChoiceInputs): Routing
  /** Absent: a token may choose any expert. */
  readonly groups?: ExpertGroups | undefined
}
