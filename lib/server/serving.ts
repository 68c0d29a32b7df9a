import type { Model } from '../model.ts'
import type { Served } from './exchange.ts'
import { TokenTexts } from './logprobs.ts'
import { Metrics } from './metrics.ts'

/** What routes have of a model. */
export const serving = (
  model: Model,
  name: string,
  draining = () => false,
  vllmMetrics = false,
): Served => ({
  ...{ model, name, draining, vllmMetrics },
  created: Math.floor(Date.now() / 1000),
  texts: model.tokenizer && new TokenTexts(model.tokenizer),
  metrics: new Metrics(),
})
