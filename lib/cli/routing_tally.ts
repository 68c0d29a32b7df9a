import type { LayerRouting, LayerRoutingStats } from '../index.ts'
import { type TokenKind, tokenKinds } from './token_kinds.ts'

/** In the order of legends and bars. */
export const expertKinds = ['ffn', 'constant', 'copy', 'zero'] as const
export type Slots = Record<(typeof expertKinds)[number], number>

export interface LayerReport {
  /** Of each expert. */
  kinds: LayerRoutingStats['kinds']
  topK: number
  /** Beside them are experts that every token passes. */
  shared: boolean
  /** Share of the tokens that chose each expert; their sum is topK. */
  load: number[]
  /** Of the load as a distribution, in nats; ln E where it is even. */
  loadEntropy: number
  /** exp(loadEntropy): as many experts with equal load would have it. */
  effectiveExperts: number
  /** Mean over tokens of the entropy of softmax(router logits), in nats. */
  routerEntropy: number
  /**
   * E times the sum over experts of the share of choices and the mean of softmax(router logits) (arXiv:2101.03961,
   * equation 4): 1 where both are even, E where all tokens go to one expert.
   */
  balanceLoss: number
  /** Experts of each kind that a token chose, mean over tokens. */
  slots: Slots
}

export interface TokenKindReport {
  kind: TokenKind
  tokens: number
  /** Experts of each kind that a token chose in a layer, mean over tokens and layers. */
  slots: Slots
  /** Of each layer: FFN experts that a token chose; null for a layer without a router. */
  ffnSlots: (number | null)[]
  /** Of each layer, likewise: entropy of softmax(router logits), in nats. */
  routerEntropy: (number | null)[]
}

export interface RoutingReport {
  tokens: number
  /** One a layer, null for a layer without a router. */
  layers: (LayerReport | null)[]
  /** Those that the text has. */
  tokenKinds: TokenKindReport[]
}

const noSlots = (): Slots => ({ ffn: 0, constant: 0, copy: 0, zero: 0 })

interface LayerSums extends Pick<LayerReport, 'kinds' | 'topK' | 'shared'> {
  chosen: Float64Array
  probability: Float64Array
  /** Of each kind of token. */
  slots: Slots[]
  entropy: Float64Array
}

/** Adds up where tokens went. */
export class RoutingTally {
  readonly #layers: (LayerSums | undefined)[]
  readonly #tokens = new Float64Array(tokenKinds.length)

  constructor(layers: readonly (LayerRoutingStats | undefined)[]) {
    this.#layers = layers.map(
      (layer) =>
        layer && {
          ...{ kinds: layer.kinds, topK: layer.topK, shared: layer.shared },
          chosen: new Float64Array(layer.kinds.length),
          probability: new Float64Array(layer.kinds.length),
          slots: tokenKinds.map(noSlots),
          entropy: new Float64Array(tokenKinds.length),
        },
    )
  }

  /**
   * Adds the last rows of a routing, one a token.
   *
   * @param kinds of those tokens
   * @returns of each token, mean over layers: FFN experts that it chose, and the entropy of its routers
   */
  add(
    routing: readonly (LayerRouting | undefined)[],
    kinds: readonly TokenKind[],
  ): { ffn: Float64Array; entropy: Float64Array } {
    const of = kinds.map((kind) => tokenKinds.indexOf(kind))
    for (const k of of) this.#tokens[k]!++
    const each = { ffn: new Float64Array(of.length), entropy: new Float64Array(of.length) }
    const routed = this.#layers.filter((layer) => layer).length
    for (const [l, layer] of this.#layers.entries()) {
      const rows = routing[l]
      if (!layer || !rows) continue
      const E = layer.kinds.length
      const first = rows.logits.length / E - of.length
      for (const [t, k] of of.entries()) {
        const ffn = choose(layer, rows.expertIds, first + t, k)
        const entropy = spread(layer.probability, rows.logits, (first + t) * E)
        layer.entropy[k]! += entropy
        each.ffn[t]! += ffn / routed
        each.entropy[t]! += entropy / routed
      }
    }
    return each
  }

  report(): RoutingReport {
    const tokens = this.#tokens.reduce((n, count) => n + count, 0)
    return {
      tokens,
      layers: this.#layers.map((layer) => (layer ? layerReport(layer, tokens) : null)),
      tokenKinds: tokenKinds.flatMap((kind, k) =>
        this.#tokens[k] === 0 ? [] : [this.#kindReport(kind, k)],
      ),
    }
  }

  #kindReport(kind: TokenKind, k: number): TokenKindReport {
    const tokens = this.#tokens[k]!
    const slots = noSlots()
    const routed = this.#layers.flatMap((layer) => layer ?? [])
    for (const layer of routed)
      for (const one of expertKinds) slots[one] += layer.slots[k]![one] / (tokens * routed.length)
    const each = (value: (layer: LayerSums) => number) =>
      this.#layers.map((layer) => (layer ? value(layer) / tokens : null))
    return {
      ...{ kind, tokens, slots },
      ffnSlots: each((layer) => layer.slots[k]!.ffn),
      routerEntropy: each((layer) => layer.entropy[k]!),
    }
  }
}

/** Counts a token's experts. @returns how many of them are FFN experts */
function choose(layer: LayerSums, ids: Int32Array, row: number, kind: number): number {
  let ffn = 0
  for (let i = row * layer.topK; i < (row + 1) * layer.topK; i++) {
    const id = ids[i]!
    layer.chosen[id]!++
    layer.slots[kind]![layer.kinds[id]!]++
    if (layer.kinds[id] === 'ffn') ffn++
  }
  return ffn
}

/** Adds softmax(logits) of a row to `sums`. @returns its entropy in nats */
function spread(sums: Float64Array, logits: Float32Array, from: number): number {
  const E = sums.length
  let most = Number.NEGATIVE_INFINITY
  for (let e = 0; e < E; e++) most = Math.max(most, logits[from + e]!)
  let sum = 0
  let weighted = 0
  for (let e = 0; e < E; e++) {
    const below = logits[from + e]! - most
    sum += Math.exp(below)
    weighted += below * Math.exp(below)
  }
  for (let e = 0; e < E; e++) sums[e]! += Math.exp(logits[from + e]! - most) / sum
  return Math.log(sum) - weighted / sum
}

function layerReport(layer: LayerSums, tokens: number): LayerReport {
  const { kinds, topK, shared, chosen, probability, entropy } = layer
  const shares = Array.from(chosen, (count) => count / (tokens * topK))
  const loadEntropy = -shares.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0)
  const slots = noSlots()
  for (const of of layer.slots) for (const kind of expertKinds) slots[kind] += of[kind] / tokens
  return {
    ...{ kinds, topK, shared },
    load: shares.map((share) => share * topK),
    ...{ loadEntropy, effectiveExperts: Math.exp(loadEntropy) },
    routerEntropy: entropy.reduce((n, sum) => n + sum, 0) / tokens,
    balanceLoss:
      kinds.length * shares.reduce((sum, share, e) => sum + (share * probability[e]!) / tokens, 0),
    slots,
  }
}
