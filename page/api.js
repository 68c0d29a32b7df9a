// What the page asks of the server. Nothing here knows of the document.

/**
 * @typedef {{ expert: number, weight: number }[][]} Routing one list a layer, empty for a layer without a router
 * @typedef {{ kinds: string[], top_k: number, shared: boolean, tokens: number, tokens_per_expert: number[] }} LayerStats
 * @typedef {{
 *   model: { name: string, architecture: string, dtype: string, device: string, layers: number, parameters: number },
 *   running: number, waiting: number, cache_usage: number, prefix_queries: number, prefix_hits: number,
 *   layers: (LayerStats | null)[]
 * }} Stats
 * @typedef {{ role: 'user' | 'assistant', content: string }} Message
 * A piece with a text is one token; its routing is that of the token before it.
 * @typedef {{ text?: string, routing?: Routing | undefined, usage?: { completion_tokens: number } }} Piece
 */

/** An answer that is no answer. */
export class HttpError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** @param {string} key @returns {Record<string, string>} */
const headers = (key) => ({
  'content-type': 'application/json',
  ...(key && { authorization: `Bearer ${key}` }),
})

/** @param {Response} response */
async function checked(response) {
  if (response.ok) return response
  const body = await response.json().catch(() => undefined)
  throw new HttpError(response.status, body?.error?.message ?? `status ${response.status}`)
}

/** @param {string} key @returns {Promise<Stats>} */
export async function stats(key) {
  const response = await fetch('/v1/stats', { headers: headers(key) })
  return (await checked(response)).json()
}

/** @param {string} text @returns {ArrayBuffer} */
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer

/**
 * Reads one token's `routed_experts` and `routed_weights`: [1, layers, K].
 *
 * @param {string} experts @param {string} weights @param {number} layers
 * @returns {Routing | undefined} undefined where there is no token
 */
export function readRouting(experts, weights, layers) {
  const ids = new Uint16Array(bytes(experts))
  const values = new Float32Array(bytes(weights))
  const most = ids.length / layers
  if (ids.length === 0) return undefined
  return Array.from({ length: layers }, (_, l) =>
    Array.from({ length: most }, (_, k) => l * most + k)
      .filter((i) => ids[i] !== 0xffff)
      .map((i) => ({ expert: /** @type {number} */ (ids[i]), weight: values[i] ?? 0 })),
  )
}

/**
 * The events of a stream of them.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string>} what stands behind `data: `
 */
export async function* events(body) {
  const [reader, decoder] = [body.getReader(), new TextDecoder()]
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const parts = (rest + decoder.decode(value, { stream: true })).split('\n\n')
    rest = parts.pop() ?? ''
    for (const part of parts) if (part.startsWith('data: ')) yield part.slice(6)
  }
}

/**
 * Answers a conversation.
 *
 * @param {{ key: string, layers: number, messages: Message[], signal: AbortSignal, max_tokens?: number | undefined, temperature?: number | undefined }} asked
 * @returns {AsyncGenerator<Piece>}
 */
export async function* chat({ key, layers, signal, ...asked }) {
  const body = JSON.stringify({
    ...asked,
    ...{ stream: true, routing: true, return_token_ids: true },
    stream_options: { include_usage: true },
  })
  const response = await fetch('/v1/chat/completions', {
    ...{ method: 'POST', headers: headers(key), body, signal },
  })
  const { body: stream } = await checked(response)
  if (!stream) return
  let ended = false
  for await (const data of events(stream)) {
    if (data === '[DONE]') ended = true
    else {
      const event = JSON.parse(data)
      if (event.error) throw new HttpError(500, event.error.message)
      if (event.usage) yield { usage: event.usage }
      for (const choice of event.choices) {
        const { delta, token_ids, routed_experts, routed_weights } = choice
        const routing = routed_experts && readRouting(routed_experts, routed_weights, layers)
        // A token has an event also where its text waits for the next one.
        yield token_ids ? { text: delta.content ?? '', routing } : { routing }
      }
    }
  }
  if (!ended) throw new HttpError(500, 'the answer was cut off')
}
