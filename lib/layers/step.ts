import type { ActivationDType, Plan, Tensor } from '../native.ts'
import type { ExpertKind } from '../ops/index.ts'
import type { ChoiceInputs, ExpertGroups, Routing, Scope, Segments } from '../routers/router.ts'
import type { LowRank, Module } from './projection.ts'

/** One tensor that a layer keeps between steps. */
export type CacheSpec =
  /** One row a token and head; keys and values differ in how `attention` wants them to lie. */
  | { kind: 'keys' | 'values'; heads: number; size: number }
  /** One row a token, whatever the number of heads. */
  | { kind: 'rows'; size: number }
  /** One row a block: what the layer remembers of the block's last token. */
  | { kind: 'state'; size: number }

/** A layer's caches by the names that the layer gives them; a layer without any has none. */
export type CacheSpecs<Names extends string = string> = Readonly<Record<Names, CacheSpec>>
export type LayerCache<Names extends string = string> = Record<Names, Tensor>

/** The first and the last position that each token sees, [T] i32. */
export interface Visible {
  starts: Tensor
  ends: Tensor
}

/** Collects what a caller wants to see of the inside, one entry a layer. */
export interface Trace {
  hiddenStates: Tensor[]
  /** Undefined for a layer without a router. */
  routing: (Routing | undefined)[]
}

/** Where a layer is recorded. */
export interface Recording {
  plan: Plan
  /** Activations other than the residual stream, router logits and logits, which are f32. */
  dtype: ActivationDType
  /** Of the layer that it is handed to. */
  choice?: ChoiceInputs | undefined
  /** Adapters, or experts of low rank; absent: none. */
  lowRank?: LowRank | undefined
  /** Tokens that routers may look at together. */
  segments?: Segments | undefined
}

/**
 * The inputs of one forward pass: T tokens of B sequences, one after the other, prefill chunks and decode
 * tokens mixed, without padding.
 */
export interface Step extends Recording {
  /** [T] i32 */
  ids: Tensor
  /** [T] i32 */
  positions: Tensor
  /** [T] i32, where a token's keys and values go: block * 32 + place in the block */
  slots: Tensor
  /** By the names of the architecture's rules. */
  visible: Readonly<Record<string, Visible>>
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32, the blocks of each sequence in order, as many as the longest one fills */
  blockTable: Tensor
  /** [R] i32, tokens whose logits are wanted; absent: none. */
  logitRows: Tensor | undefined
  /** One a layer. */
  caches: LayerCache[]
  /** One a layer, for its `experts`. */
  choices?: readonly (ChoiceInputs | undefined)[]
  trace: Trace
}

/** The experts of one layer. */
export interface ExpertInfo {
  /** In the order of their ids. */
  kinds: readonly ExpertKind[]
  /** Experts that a token chooses. */
  topK: number
  /** Absent: a token may choose any of them. */
  groups?: ExpertGroups | undefined
  /** Of their router; absent: `token`. */
  scope?: Scope
  /** Beside them is a block that every token passes. */
  shared?: boolean | undefined
  /** Weights of all of them. */
  parameters: number
}

/** What the engine has to know of a layer. Nothing in it needs to be equal for all layers. */
export interface LayerInfo {
  readonly caches: CacheSpecs
  /** Undefined: no router and no experts. */
  readonly experts?: ExpertInfo | undefined
  /** What adapters may add to. */
  readonly modules?: readonly Module[] | undefined
}

export interface LayerOutput {
  /** [T, H] f32 */
  out: Tensor
  /** Absent for a layer without a router. */
  routing?: Routing
}

/** x [T, H] -> out [T, H] */
export interface Layer extends LayerInfo {
  /** @param previous routing of the nearest layer below that has one, for routers that read it */
  forward(step: Step, x: Tensor, cache: LayerCache, previous?: Routing): LayerOutput
}
