// moe-native on the same weights; driven by run.mjs over IPC.
import { loadModel } from '../../../dist/index.js'

const [dir, threads, dtype, weights] = process.argv.slice(2)
const model = await loadModel(dir, {
  device: 'cpu',
  dtype,
  weights,
  threads: Number(threads),
  maxTokens: 4096,
})

const tasks = {
  async prefill({ ids }) {
    const started = performance.now()
    await model.forward(ids, { logits: 'last' })
    return performance.now() - started
  },
  async decode({ prompts, steps }) {
    const sequences = prompts.map(() => model.sequence())
    await Promise.all(sequences.map((s, i) => s.forward(prompts[i], { logits: 'none' })))
    await Promise.all(sequences.map((s, i) => s.forward([steps[0][i]])))
    const times = []
    for (const ids of steps.slice(1)) {
      const started = performance.now()
      await Promise.all(sequences.map((s, i) => s.forward([ids[i]])))
      times.push(performance.now() - started)
    }
    for (const s of sequences) s.dispose()
    return times
  },
  async serve({ clients }) {
    const started = performance.now()
    await Promise.all(
      clients.map(async (requests) => {
        for (const { ids, forced } of requests) {
          const sequence = model.sequence()
          await sequence.forward(ids, { logits: 'none' })
          for (const id of forced) await sequence.forward([id])
          sequence.dispose()
        }
      }),
    )
    return performance.now() - started
  },
}

process.on('message', async ({ task, ...input }) => process.send(await tasks[task](input)))
process.send('ready')
