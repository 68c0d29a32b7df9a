// An HTTP server that streams text as server-sent events. A client that goes away stops its generation, and
// concurrent requests share steps.
//   node server.mjs [MODEL] [PORT]     curl -N 'localhost:8080/generate?prompt=ROMEO:'
import { createServer } from 'node:http'
import { demoModel, loadModel, MoeError } from 'moe-native'

const model = await loadModel(process.argv[2] ?? demoModel)

/** @type {import('node:http').RequestListener} */
async function answer(request, response) {
  const abort = new AbortController()
  response.on('close', () => abort.abort(new Error('the client has gone')))
  try {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (pathname !== '/generate') return void response.writeHead(404).end()
    const generation = model.generate(searchParams.get('prompt') ?? '', {
      maxNewTokens: Number(searchParams.get('maxNewTokens') ?? 64),
      signal: abort.signal,
    })
    response.setHeader('content-type', 'text/event-stream')
    for await (const { text } of generation) response.write(`data: ${JSON.stringify({ text })}\n\n`)
    response.end('data: [DONE]\n\n')
  } catch (error) {
    if (!abort.signal.aborted) fail(response, error)
  }
}

/**
 * Before the first text an error is a status. After it the status has been sent: it is the last event.
 * @param {import('node:http').ServerResponse} response
 * @param {unknown} cause
 */
function fail(response, cause) {
  const { code, message } =
    cause instanceof MoeError ? cause : { code: 'ERR_INTERNAL', message: 'internal error' }
  const body = JSON.stringify({ error: { code, message } })
  if (response.headersSent) return void response.end(`event: error\ndata: ${body}\n\n`)
  const status = code === 'ERR_MOE_OPTION' ? 400 : 503
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}

const server = createServer(answer).listen(Number(process.argv[3] ?? 8080), () => {
  console.log(`listening on ${JSON.stringify(server.address())}`)
})
process.once('SIGTERM', () => server.close(() => void model.dispose()))
