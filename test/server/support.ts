import { afterAll, beforeAll } from 'vitest'
import { loadModel, type Model } from '../../lib/index.ts'
import { type RunningServer, type ServeOptions, serve } from '../../lib/server/index.ts'

/** A server for the tests of one `describe`, on a free port. */
export function useServer(
  dir: string,
  options: ServeOptions = {},
  load = {},
): { url: () => string; model: () => Model; server: () => RunningServer } {
  let model: Model
  let server: RunningServer
  beforeAll(async () => {
    model = await loadModel(dir, { device: 'cpu', maxTokens: 2048, ...load })
    server = await serve(model, { port: 0, name: 'demo', ...options })
  })
  afterAll(async () => {
    await server.close()
    await model.dispose()
  })
  return { url: () => server.url, model: () => model, server: () => server }
}

/** A request's status, headers and JSON. */
export async function post(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; json: any }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, headers: response.headers, json: await response.json() }
}

/** The events of a stream: objects, and what is no JSON as it is. */
export async function events(url: string, body: object): Promise<any[]> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
  })
  return (await response.text())
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => {
      const data = event.replace(/^data: /, '')
      return data.startsWith('{') ? JSON.parse(data) : data
    })
}
