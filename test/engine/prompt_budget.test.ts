import { describe, expect, it } from 'vitest'
import { PromptBudget, type PromptLimits } from '../../lib/engine/prompt_budget.ts'
import { range } from '../support/golden.ts'

const limits = { maxTokens: 512, leastTokens: 64, slowdown: 2.5 }

/**
 * Tokens and milliseconds of steps in which a writer and an endless prompt are, once the budget has settled. What a few
 * tokens make a step read takes `reading`; every fourth step has no prompt.
 */
function settled(
  reading: number,
  { noise = 0, perToken = 0.1, knowsPrompts = true },
  some: Partial<PromptLimits> = {},
) {
  const budget = new PromptBudget({ ...limits, ...some })
  const msOf = (tokens: number) => 20 + reading * (1 - Math.exp(-tokens / 24)) + perToken * tokens
  if (knowsPrompts) budget.measured(0, 512, msOf(512))
  const steps = range(200).map((i) => {
    const tokens = i % 4 === 0 ? 0 : budget.tokens(1)
    budget.measured(1, tokens, msOf(tokens) * (1 + noise * Math.sin(i * i)))
    return { tokens, ms: msOf(tokens) }
  })
  return steps.slice(100).filter(({ tokens }) => tokens > 0)
}

describe('the budget of prompts', () => {
  it.each([0, 0.1])('holds a step to a multiple of one without them; noise %d', (noise) => {
    for (const { tokens, ms } of settled(8, { noise })) {
      expect(ms).toBeLessThan(60)
      expect(ms).toBeGreaterThan(38)
      expect(tokens % 32).toBe(0)
    }
  })

  it('does not fall to where reading is all that a step does', () => {
    for (const { tokens } of settled(400, {})) expect(tokens).toBe(64)
  })

  it('falls to a block where arithmetic is what takes long, once that is known', () => {
    for (const { tokens } of settled(1, { perToken: 2 })) expect(tokens).toBe(32)
    for (const { tokens } of settled(1, { perToken: 2, knowsPrompts: false }))
      expect(tokens).toBe(64)
  })

  it('is all of a step where nobody writes, or where steps may take long', () => {
    expect(new PromptBudget(limits).tokens(0)).toBe(512)
    expect(new PromptBudget({ ...limits, slowdown: Number.POSITIVE_INFINITY }).tokens(7)).toBe(512)
    for (const { tokens } of settled(0, {}, { slowdown: 100 })) expect(tokens).toBe(512)
  })

  it('is raised by no short prompt, and knows how long steps of fewer texts take', () => {
    const budget = new PromptBudget(limits)
    budget.measured(2, 0, 10)
    budget.measured(5, 40, 12)
    expect(budget.tokens(5)).toBe(64)
    budget.measured(5, 64, 12)
    expect(budget.tokens(5)).toBe(96)
  })
})
