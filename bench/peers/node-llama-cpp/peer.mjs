// node-llama-cpp's prebuilt CPU binary, called as its users call it; driven by run.mjs over IPC.
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'

const [gguf, threads] = process.argv.slice(2)
const llama = await getLlama({
  gpu: false,
  build: 'never',
  logLevel: LlamaLogLevel.error,
  maxThreads: Number(threads),
  progressLogs: false,
})
const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 })
const threadOption = { ideal: Number(threads), min: Number(threads) }

const contexts = new Map()
async function sequencesOf(batch) {
  if (!contexts.has(batch)) {
    const context = await model.createContext({
      contextSize: batch > 1 ? 256 : 2048,
      batchSize: 512,
      sequences: batch,
      threads: threadOption,
    })
    contexts.set(
      batch,
      Array.from({ length: batch }, () => context.getSequence()),
    )
  }
  return contexts.get(batch)
}

const tasks = {
  async prefill({ ids }) {
    const [sequence] = await sequencesOf(1)
    await sequence.clearHistory()
    const started = performance.now()
    await sequence.evaluateWithoutGeneratingNewTokens(ids)
    return performance.now() - started
  },
  /** Milliseconds of each step; tokens are forced, so that routing stays spread. */
  async decode({ prompts, steps }) {
    const sequences = await sequencesOf(prompts.length)
    for (const sequence of sequences) await sequence.clearHistory()
    await Promise.all(sequences.map((s, i) => s.evaluateWithoutGeneratingNewTokens(prompts[i])))
    const running = sequences.map((s, i) =>
      s.evaluate([steps[0][i]], { temperature: 0, yieldEogToken: true }),
    )
    await Promise.all(running.map((r) => r.next()))
    const times = []
    for (const ids of steps.slice(1)) {
      const started = performance.now()
      await Promise.all(running.map((r, i) => r.next(ids[i])))
      times.push(performance.now() - started)
    }
    await Promise.all(running.map((r) => r.return?.()))
    return times
  },
  /** Milliseconds of all requests; a client's come one after the other, with its tokens forced. */
  async serve({ clients }) {
    const sequences = await sequencesOf(clients.length)
    const started = performance.now()
    await Promise.all(
      clients.map(async (requests, c) => {
        for (const { ids, forced } of requests) {
          await sequences[c].clearHistory()
          await sequences[c].evaluateWithoutGeneratingNewTokens(ids)
          const [first, ...rest] = forced
          const running = sequences[c].evaluate([first], { temperature: 0, yieldEogToken: true })
          await running.next()
          for (const id of rest) await running.next(id)
          await running.return?.()
        }
      }),
    )
    return performance.now() - started
  },
}

process.on('message', async ({ task, ...input }) => process.send(await tasks[task](input)))
process.send('ready')
