// A model that lives in a worker thread: the main thread posts prompts and gets pieces of text back.
//   node worker.mjs [MODEL]
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { demoModel, loadModel } from 'moe-native'

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] ?? demoModel })
  worker.on('message', ({ text, done }) => {
    process.stdout.write(text)
    if (done) worker.postMessage(null)
  })
  worker.postMessage('JULIET:\n')
} else {
  const model = await loadModel(workerData)
  parentPort?.on('message', async (prompt) => {
    if (prompt === null) {
      parentPort?.close()
      return model.dispose()
    }
    for await (const { text } of model.generate(prompt, { maxNewTokens: 40 }))
      parentPort?.postMessage({ text, done: false })
    parentPort?.postMessage({ text: '\n', done: true })
  })
}
