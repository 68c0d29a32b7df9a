import type { Exchange, Served } from './exchange.ts'

/** GET /v1/stats: what the model is, what it does, and how often each expert was chosen. */
export async function stats(exchange: Exchange, { model, name }: Served): Promise<void> {
  const { running, waiting, blocks, prefix } = model.stats
  const { layers } = await model.routingStats()
  exchange.send(200, {
    model: {
      ...{ name, architecture: model.config.architecture, layers: model.config.numLayers },
      ...{ dtype: model.dtype, device: model.device.type, parameters: model.parameters.total },
    },
    ...{ running, waiting, cache_usage: 1 - blocks.free / blocks.size },
    ...{ prefix_queries: prefix.queries, prefix_hits: prefix.hits },
    layers: layers.map((layer) => {
      if (!layer) return null
      const { kinds, topK, shared, tokens, tokensPerExpert } = layer
      const tokens_per_expert = [...tokensPerExpert]
      return { kinds, top_k: topK, shared, tokens, tokens_per_expert }
    }),
  })
}
