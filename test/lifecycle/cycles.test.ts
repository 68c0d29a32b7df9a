import { describe, expect, it } from 'vitest'
import { runScript } from '../support/child.ts'
import { fixture } from '../support/golden.ts'

// Counts of what the process holds, as Linux tells them.

interface Held {
  /** Without the JavaScript heap, whose size is V8's affair. */
  memoryMiB: number
  files: number
  threads: number
  mappedFiles: number
}

const measure = `
const dir = ${JSON.stringify(fixture('golden/moepp/base-f32'))}
const turn = () => new Promise((resolve) => setTimeout(resolve, 20))
/** Finalizers run in turns of their own after a collection. */
const held = async () => {
  for (let i = 0; i < 3; i++) {
    gc()
    await turn()
  }
  return {
    memoryMiB: (process.memoryUsage.rss() - process.memoryUsage().heapTotal) / 2 ** 20,
    files: fs.readdirSync('/proc/self/fd').length,
    threads: fs.readdirSync('/proc/self/task').length,
    mappedFiles: fs.readFileSync('/proc/self/maps', 'utf8').split('.safetensors').length,
  }
}
`

/** `early` and `late` of a script, which prints nothing before: that opens a pipe. */
async function counts(source: string): Promise<[Held, Held]> {
  const print = 'console.log(JSON.stringify([early, late]))'
  const options = { nodeArgs: ['--expose-gc'] }
  const { stdout, stderr } = await runScript(measure + source + print, options)
  expect(stderr).toBe('')
  return JSON.parse(stdout) as [Held, Held]
}

/** A cycle that kept as much as 20 KiB would fail, and so would a handle in any of them. */
function expectFlat([early, late]: [Held, Held], cycles: number): void {
  expect(late.files).toBe(early.files)
  expect(late.threads).toBe(early.threads)
  expect(late.mappedFiles).toBeLessThanOrEqual(early.mappedFiles + 2) // those of the last cycles
  expect(late.memoryMiB - early.memoryMiB).toBeLessThan((20 / 1024) * cycles + 4)
}

describe.skipIf(process.platform !== 'linux')('nothing stays', () => {
  it('of 1,000 models that were disposed', async () => {
    const seen = await counts(`
      const cycle = async (i) => {
        const model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
        if (i % 4 === 0) await model.generate([3, 4], { maxNewTokens: 2 })
        if (i % 4 === 1) void model.forward([5]).catch(() => {}) // still runs when it is disposed
        await model.dispose()
      }
      for (let i = 0; i < 600; i++) await cycle(i)
      const early = await held()
      for (let i = 600; i < 1000; i++) await cycle(i)
      const late = await held()
`)
    expectFlat(seen, 400)
  })

  it('of models that nobody disposed', async () => {
    const seen = await counts(`
      const cycle = async () => {
        const model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
        await model.forward([3, 4])
      }
      const cycles = async (n) => {
        for (let i = 0; i < n; i++) {
          await cycle()
          if (i % 10 === 0) await held()
        }
      }
      await cycles(180) // the allocator's arenas have their size by then
      const early = await held()
      await cycles(60)
      const late = await held()
`)
    expectFlat(seen, 60)
  })

  it('of loads that were aborted or failed, and of sequences', async () => {
    const seen = await counts(`
      const model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
      const cycle = async () => {
        const signal = AbortSignal.abort()
        await loadModel(dir, { device: 'cpu', maxTokens: 64, onProgress() { throw 1 } }).catch(() => {})
        await loadModel(dir, { device: 'cpu', signal }).catch(() => {})
        await loadModel('/no/such/folder').catch(() => {})
        const sequence = model.sequence()
        await sequence.forward([3, 4])
        const fork = sequence.fork()
        sequence.dispose()
        await fork.forward([5])
        fork.dispose()
      }
      for (let i = 0; i < 150; i++) await cycle()
      const early = await held()
      for (let i = 0; i < 150; i++) await cycle()
      const late = await held()
`)
    expectFlat(seen, 150)
  })
})
