import type { Plan, Tensor } from '../native.ts'
import type { GroupScore, TopKInputs, TopKOutputs } from '../ops/index.ts'

/**
 * What a router that chooses decides: a token takes up to K experts, or is taken by up to K. Where it is not, its row
 * is -1, and the choice adds nothing.
 */
export interface Routing extends TopKOutputs {
  /** [T, E] f32, before any softmax or normalisation; what MoE++ carries to the next layer */
  logits: Tensor
}

/** What a step has for a layer's choice beside its logits: a call's changes, and where choices are counted. */
export type ChoiceInputs = Pick<TopKInputs, 'adjust' | 'adjustOf' | 'counts'>

/** What a router that mixes decides (Soft MoE): how slots are made of tokens, and tokens of slots. */
export interface SoftRouting {
  /** [T, S] f32 */
  logits: Tensor
  /** [T, S] f32, shares of a segment's tokens in each slot */
  dispatch: Tensor
  /** [T, S] f32, shares of the slots in each token */
  combine: Tensor
}

/** Tokens that are routed together: those of a text or of an image. */
export interface Segments {
  /** [B + 1] i32, from 0 to T */
  offsets: Tensor
  /** Of the longest. */
  tokens: number
}

/** What a router may read beside its input. */
export interface RouteContext {
  /** Routing of the layer below; undefined in the first layer. */
  previous?: Routing | undefined
  /** Goes to `topK`. */
  choice?: ChoiceInputs | undefined
  /** For routers that look at other tokens. */
  segments?: Segments | undefined
}

/**
 * Which tokens a token's routing depends on: on itself alone, on those of its segment before it, or on all of its
 * segment. A decoder takes routers of the first kind only.
 */
export type Scope = 'token' | 'prefix' | 'segment'

/** Groups of neighbouring experts, of which a token may choose from the best. */
export interface ExpertGroups {
  count: number
  kept: number
  score: GroupScore
}

/**
 * Chooses experts. Ids of a token are distinct, equal logits go to the lower id, and a token's routing
 * depends on no more than `scope` says. test/routers/contract.ts holds every router to this.
 */
export interface Router<Result = Routing> {
  readonly scope: Scope
  /** @param x [T, H], the normed input that router and experts share */
  route(plan: Plan, x: Tensor, context?: RouteContext): Result
  /** Absent: a token may choose any expert. */
  readonly groups?: ExpertGroups | undefined
}
