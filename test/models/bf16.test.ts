import { existsSync, readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { type LayerRouting, loadModel } from '../../lib/index.ts'
import { fixture, type Golden, golden, maxDifference, range, rms } from '../support/golden.ts'
import { testDevice } from '../support/use_model.ts'

// On a GPU bf16 is what a model runs in when nobody says otherwise.
const dtype = testDevice === 'cpu' ? 'bf16' : 'auto'

// A router that rounding makes choose otherwise changes everything after it, so logits are compared up to the
// first token of which that is true, and it may only happen where the margin is small.
const maxFlipMargin = 0.1

interface Flip {
  token: number
  margin: number
}

const setOf = (ids: ArrayLike<number>): string =>
  Array.from(ids)
    .sort((a, b) => a - b)
    .join()

/** What experts are chosen by: their logits, or scores with a bias (DeepSeek-V3, LongCat-Flash). */
function compared(stored: Golden | undefined, layer: number, logits: number[]): number[] {
  const bias = (router: string): Float64Array | undefined => {
    const name = `model.layers.${layer}.mlp.${router}.e_score_correction_bias`
    return stored?.has(name) ? stored.get(name) : undefined
  }
  const [sigmoid, softmax] = [bias('gate'), bias('router')]
  if (sigmoid) return logits.map((z, e) => 1 / (1 + Math.exp(-z)) + sigmoid[e]!)
  if (!softmax) return logits
  const total = logits.reduce((sum, z) => sum + Math.exp(z), 0)
  return logits.map((z, e) => Math.exp(z) / total + softmax[e]!)
}

function firstFlip(
  routing: (LayerRouting | undefined)[],
  want: Golden,
  K: number,
  normed: boolean,
  stored: Golden | undefined,
): Flip | undefined {
  const flips = routing.flatMap((layer, l) => {
    if (!layer) return []
    const { expertIds, logits } = layer
    const chosen = want.get(`prefill.layer${l}.topk_index`)
    const tokens = expertIds.length / K
    const E = logits.length / tokens
    const token = range(tokens).find(
      (t) =>
        setOf(expertIds.subarray(t * K, t * K + K)) !== setOf(chosen.subarray(t * K, t * K + K)),
    )
    if (token === undefined) return []
    const row = Array.from(
      want.get(`prefill.layer${l}.router_logits`).subarray(token * E, token * E + E),
    )
    const mean = row.reduce((a, b) => a + b) / E
    const spread = normed
      ? Math.sqrt(row.reduce((sum, z) => sum + (z - mean) ** 2, 0) / (E - 1))
      : 1
    const best = compared(stored, l, row).sort((a, b) => b - a)
    return [{ token, margin: (best[K - 1]! - best[K]!) / spread }]
  })
  return flips.sort((a, b) => a.token - b.token)[0]
}

const folders = readdirSync(fixture('golden')).flatMap((family) =>
  readdirSync(fixture('golden', family))
    // Without its README, and without data that have no router logits to judge a flip by.
    .filter((name) => existsSync(fixture('golden', family, name, 'config.json')))
    .filter((name) => !name.includes('gptq'))
    .map((name) => `${family}/${name}`),
)

it.each(folders)('bf16 activations: %s', async (folder) => {
  const dir = fixture('golden', folder)
  const want = golden(`${dir}/golden.safetensors`)
  await using m = await loadModel(dir, { dtype, device: testDevice, maxTokens: 64 })
  expect(m.dtype).toBe('bf16')
  const { vocabSize: V, topK: K } = m.config
  const { logits, routing } = await m.forward(want.ids('prefill.input_ids'), {
    logits: 'all',
    routing: true,
  })
  const flip = firstFlip(
    routing!,
    want,
    K,
    'logitsNormStd' in m.config && m.config.logitsNormStd !== 0,
    existsSync(`${dir}/model.safetensors`) ? golden(`${dir}/model.safetensors`) : undefined,
  )
  if (flip) expect(flip.margin).toBeLessThanOrEqual(maxFlipMargin)
  const end = (flip?.token ?? logits.length / V) * V
  expect(end).toBeGreaterThanOrEqual(2 * V)
  const truth = want.get('prefill.logits').subarray(0, end)
  expect(maxDifference(logits.subarray(0, end), truth)).toBeLessThanOrEqual(0.8)
  expect(rms(logits.subarray(0, end), truth)).toBeLessThanOrEqual(0.1)
  // Where the published code was run in bf16 too: no worse than it.
  const published =
    folder === 'moepp/base-bf16'
      ? golden(`${dir}/golden_bf16.safetensors`).get('prefill.logits')
      : undefined
  const publishedRun =
    published ??
    (want.has('bf16run.prefill.logits') ? want.get('bf16run.prefill.logits') : undefined)
  if (publishedRun)
    expect(rms(logits, want.get('prefill.logits'))).toBeLessThanOrEqual(
      rms(publishedRun, want.get('prefill.logits')),
    )
})
