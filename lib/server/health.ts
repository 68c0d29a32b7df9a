import type { Exchange, Served } from './exchange.ts'
import { Failure } from './failure.ts'

/** A step that takes longer has stopped. */
const stuckMs = 60_000

/** GET /health: the process lives, and the engine moves. */
export function health(exchange: Exchange, { model }: Served): void {
  const { stepBeganAt = Number.POSITIVE_INFINITY } = model.stats
  const ms = performance.now() - stepBeganAt
  if (ms > stuckMs)
    throw new Failure(503, `a step has not ended for ${Math.round(ms / 1000)} s`, {
      code: 'stuck',
    })
  exchange.send(200, { status: 'ok' })
}

/** GET /ready: new requests are welcome. */
export function ready(exchange: Exchange, { model, draining }: Served): void {
  if (draining()) throw new Failure(503, 'the server is shutting down', { code: 'draining' })
  const { running, waiting, maxCalls } = model.stats
  if (running + waiting >= maxCalls)
    throw new Failure(503, `${waiting} requests wait, and no more may`, {
      ...{ code: 'queue_full', retryAfter: 1 },
    })
  exchange.send(200, { status: 'ready' })
}

/** GET /v1/models */
export function models(exchange: Exchange, served: Served): void {
  exchange.send(200, { object: 'list', data: modelObjects(served) })
}

/** GET /v1/models/{id} */
export function modelOf(exchange: Exchange, served: Served, id: string): void {
  const found = modelObjects(served).find((one) => one.id === id)
  if (!found)
    throw new Failure(404, `the model ${JSON.stringify(id.slice(0, 200))} does not exist`, {
      param: 'model',
      code: 'model_not_found',
    })
  exchange.send(200, found)
}

/** The model, then its adapters, which name it as their parent as vLLM's do. */
function modelObjects({ model, name, created }: Served): { id: string }[] {
  const about = { object: 'model', created, owned_by: 'moe-native' }
  const base = { id: name, ...about, max_model_len: model.maxTokens }
  const adapters = model.adapters.filter((adapter) => adapter.name !== name)
  return [base, ...adapters.map((adapter) => ({ ...base, id: adapter.name, parent: name }))]
}
