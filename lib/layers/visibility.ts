/**
 * Which positions a token sees: all from its start to its end. An architecture has one rule for each kind of
 * attention in it, and a layer's attention names its own.
 */
export interface VisibilityRule {
  /** First visible position, given that of the token before and the id of the token before. */
  start(position: number, previousStart: number, previousId: number | undefined): number
  /** Last visible position in a text of `length` tokens; without it, the token's own. */
  end?(position: number, length: number): number
}

export type VisibilityRules = Readonly<Record<string, VisibilityRule>>

export const causal: VisibilityRule = { start: () => 0 }

/** The last `size` positions, the token's own included. */
export const slidingWindow = (size: number): VisibilityRule => ({
  start: (position) => Math.max(0, position - size + 1),
})

/** Nothing at or before the last `id` is visible. */
export const resetAfter = (id: number): VisibilityRule => ({
  start: (position, previousStart, previousId) => (previousId === id ? position : previousStart),
})
