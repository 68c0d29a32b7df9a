import { existsSync, readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { type LayerRouting, loadModel } from '../../lib/index.ts'
import type { DeepseekV2Config } from '../../lib/models/deepseek_v2.ts'
import { readStored } from '../support/files.ts'
import { fixture, type Golden, golden, maxDifference, range, rms } from '../support/golden.ts'
import { testDevice } from '../support/use_model.ts'

// On a GPU bf16 is what a model runs in when nobody says otherwise.
const dtype = testDevice === 'cpu' ? 'bf16' : 'auto'

// A router that rounding makes choose otherwise changes everything after it, so logits are compared where no
// such choice has reached, and it may only happen where the margin is small.
const maxFlipMargin = 0.1

interface Groups {
  count: number
  kept: number
  score: 'max' | 'top2'
}

/** Groups of experts, where a model's tokens choose from some of them. */
const groupsOf = (config: object): Groups | undefined => {
  const { architecture, groups } = config as DeepseekV2Config
  return groups && { ...groups, score: architecture === 'deepseek_v2' ? 'max' : 'top2' }
}

type StoredTensors = ReturnType<typeof readStored>

const setOf = (ids: ArrayLike<number>): string =>
  Array.from(ids)
    .sort((a, b) => a - b)
    .join()

/** What experts are chosen by: their logits, or scores with a bias: sigmoid, or softmax (LongCat-Flash, ERNIE). */
function compared(stored: StoredTensors, layer: number, logits: number[]): number[] {
  const bias = (...routers: string[]): Float32Array | undefined => {
    const names = routers.flatMap((at) =>
      ['e_score_correction_bias', 'expert_bias'].map((end) => `model.layers.${layer}.${at}.${end}`),
    )
    const found = names.map((name) => stored.get(name)).find((one) => one)
    return found && new Float32Array(new Uint8Array(found.data).buffer)
  }
  const sigmoid = bias('mlp.gate', 'mlp', 'block_sparse_moe')
  const softmax = bias('mlp.router', 'mlp.moe_statics')
  if (sigmoid) return logits.map((z, e) => 1 / (1 + Math.exp(-z)) + sigmoid[e]!)
  if (!softmax) return logits
  const total = logits.reduce((sum, z) => sum + Math.exp(z), 0)
  return logits.map((z, e) => Math.exp(z) / total + softmax[e]!)
}

const descending = (values: number[]): number[] => [...values].sort((a, b) => b - a)

/** The gap between what is chosen and what is not: of experts, and where a token keeps some groups, of these. */
function marginOf(scores: number[], K: number, groups: Groups | undefined): number {
  const gap = (values: number[], kept: number) => {
    const best = descending(values)
    return best[kept - 1]! - best[kept]!
  }
  if (!groups) return gap(scores, K)
  const size = scores.length / groups.count
  const all = range(groups.count).map((g) => descending(scores.slice(g * size, (g + 1) * size)))
  const worth = all.map(([first, second]) => (groups.score === 'max' ? first! : first! + second!))
  const least = descending(worth)[groups.kept - 1]!
  const kept = all.filter((_, g) => worth[g]! >= least).flat()
  return Math.min(gap(worth, groups.kept), gap(kept, K))
}

/**
 * Tokens that no other choice has reached, and the margins of those choices. No attention is behind the last layer's
 * experts, so another choice of theirs changes its own token only.
 */
function untouched(
  routing: (LayerRouting | undefined)[],
  want: Golden,
  K: number,
  normed: boolean,
  stored: StoredTensors,
  groups: Groups | undefined,
): { tokens: number[]; margins: number[] } {
  const T = want.ids('prefill.input_ids').length
  const last = routing.length - 1
  const flips = routing.flatMap((layer, l) => {
    if (!layer) return []
    const { expertIds, logits } = layer
    const chosen = want.get(`prefill.layer${l}.topk_index`)
    const E = logits.length / T
    const flipped = range(T).filter(
      (t) =>
        setOf(expertIds.subarray(t * K, t * K + K)) !== setOf(chosen.subarray(t * K, t * K + K)),
    )
    return flipped.map((token) => {
      const row = Array.from(
        want.get(`prefill.layer${l}.router_logits`).subarray(token * E, token * E + E),
      )
      const mean = row.reduce((a, b) => a + b) / E
      const spread = normed
        ? Math.sqrt(row.reduce((sum, z) => sum + (z - mean) ** 2, 0) / (E - 1))
        : 1
      const margin = marginOf(compared(stored, l, row), K, groups) / spread
      return { layer: l, token, margin }
    })
  })
  const [first] = flips
    .filter(({ layer }) => layer < last)
    .sort((a, b) => a.token - b.token || a.layer - b.layer)
  const end = first?.token ?? T
  const alone = flips.filter(({ layer, token }) => layer === last && token < end)
  return {
    tokens: range(end).filter((t) => !alone.some(({ token }) => token === t)),
    margins: [...(first ? [first] : []), ...alone].map(({ margin }) => margin),
  }
}

const folders = readdirSync(fixture('golden')).flatMap((family) =>
  readdirSync(fixture('golden', family))
    // Without its README, and without data that have no router logits to judge a flip by.
    .filter((name) => existsSync(fixture('golden', family, name, 'config.json')))
    .filter(
      (name) => !['vision', 'seq2seq', 'lora_experts'].includes(family) && !name.includes('gptq'),
    )
    .map((name) => `${family}/${name}`),
)

it.each(folders)('bf16 activations: %s', async (folder) => {
  const dir = fixture('golden', folder)
  const want = golden(`${dir}/golden.safetensors`)
  // On the CPU rows of packed MXFP4 are rounded to integers then: test/models/gpt_oss.test.ts.
  const weights = folder.endsWith('mxfp4') ? 'bf16' : 'auto'
  await using m = await loadModel(dir, { dtype, weights, device: testDevice, maxTokens: 64 })
  expect(m.dtype).toBe('bf16')
  const { vocabSize: V, topK: K } = m.config
  const { logits, routing } = await m.forward(want.ids('prefill.input_ids'), {
    logits: 'all',
    routing: true,
  })
  const { tokens, margins } = untouched(
    routing!,
    want,
    K,
    'logitsNormStd' in m.config && m.config.logitsNormStd !== 0,
    existsSync(`${dir}/model.safetensors`) ? readStored(`${dir}/model.safetensors`) : new Map(),
    groupsOf(m.config),
  )
  expect(Math.max(0, ...margins)).toBeLessThanOrEqual(maxFlipMargin)
  expect(tokens.length).toBeGreaterThanOrEqual(2)
  const rows = (all: Float32Array | Float64Array) =>
    tokens.flatMap((t) => [...all.subarray(t * V, t * V + V)])
  const [got, truth] = [rows(logits), rows(want.get('prefill.logits'))]
  expect(maxDifference(got, truth)).toBeLessThanOrEqual(0.8)
  expect(rms(got, truth)).toBeLessThanOrEqual(0.1)
  // Where the published code was run in bf16 too: no worse than it. One flip weighs more than all rounding together,
  // and which of several near ties flips is chance.
  const published =
    folder === 'moepp/base-bf16'
      ? golden(`${dir}/golden_bf16.safetensors`).get('prefill.logits')
      : undefined
  const publishedRun =
    published ??
    (want.has('bf16run.prefill.logits') ? want.get('bf16run.prefill.logits') : undefined)
  if (publishedRun) expect(rms(got, truth)).toBeLessThanOrEqual(rms(rows(publishedRun), truth))
})
