import { MoeError } from '../errors.ts'
import type { Tensor } from '../native.ts'
import type { Routing } from '../routers/router.ts'
import type { Vocabulary } from './head.ts'
import type { Layer, Step } from './step.ts'
import type { VisibilityRules } from './visibility.ts'

/** Embedding, layers one above the other, head: the graph of every decoder-only model. */
export class Decoder<Config> {
  readonly config: Config
  readonly visibility: VisibilityRules
  readonly layers: readonly Layer[]
  readonly #vocabulary: Vocabulary

  constructor(
    config: Config,
    parts: { vocabulary: Vocabulary; visibility: VisibilityRules; layers: readonly Layer[] },
  ) {
    this.config = config
    this.visibility = parts.visibility
    this.layers = parts.layers
    for (const [l, { experts }] of parts.layers.entries())
      if (experts?.scope && experts.scope !== 'token')
        throw new MoeError(
          'ERR_MOE_UNSUPPORTED',
          `decoder: the router of layer ${l} must route each token alone, got one that looks at its ${experts.scope}`,
        )
    this.#vocabulary = parts.vocabulary
  }

  forward(step: Step): Tensor | undefined {
    let x = this.#vocabulary.embed(step) // [T, H]
    let previous: Routing | undefined
    for (const [l, layer] of this.layers.entries()) {
      const own = { ...step, choice: step.choices?.[l] }
      const { out, routing } = layer.forward(own, x, step.caches[l]!, previous)
      step.trace.hiddenStates.push(out)
      step.trace.routing.push(routing)
      previous = routing ?? previous
      x = out
    }
    return this.#vocabulary.logits(step, x)
  }
}
