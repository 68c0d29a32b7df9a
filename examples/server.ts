// An HTTP route that streams text as server-sent events. A client that goes away stops its generation, and
// concurrent requests share steps.
//   node examples/server.ts [MODEL] [PORT]     curl -N 'localhost:8080/generate?prompt=ROMEO:'
import express from 'express'
import { loadModel, MoeError } from 'moe-native'

const model = await loadModel(process.argv[2] ?? 'demo/moepp-tiny')
const app = express()

app.get('/generate', async (request, response) => {
  const abort = new AbortController()
  response.on('close', () => abort.abort(new Error('the client has gone')))
  const prompt = String(request.query.prompt ?? '')
  const maxNewTokens = Number(request.query.maxNewTokens ?? 64)
  const generation = model.generate(prompt, { maxNewTokens, signal: abort.signal })
  try {
    for await (const { text } of generation) {
      if (!response.headersSent) response.type('text/event-stream')
      response.write(`data: ${JSON.stringify({ text })}\n\n`)
    }
    response.end('data: [DONE]\n\n')
  } catch (error) {
    if (abort.signal.aborted) return
    if (!(error instanceof MoeError)) throw error
    const status = error.code === 'ERR_MOE_OPTION' ? 400 : 503
    response.status(status).json({ error: { code: error.code, message: error.message } })
  }
})

const server = app.listen(Number(process.argv[3] ?? 8080), () => {
  console.log(`listening on ${JSON.stringify(server.address())}`)
})
process.once('SIGTERM', () => server.close(() => void model.dispose()))
