import { describe, expect, it } from 'vitest'
import { runScript } from '../support/child.ts'
import { fixture } from '../support/golden.ts'

// What stays after each cycle grows in every window of cycles. An allocator that takes another page, or a thread that
// starts late, makes some of them grow: one that is flat is enough.

const measure = `
const dir = ${JSON.stringify(fixture('golden/moepp/base-f32'))}
const options = { device: 'cpu', maxTokens: 64 }
const turn = () => new Promise((resolve) => setTimeout(resolve, 20))
/** Counts as Linux tells them. Finalizers run in turns of their own after a collection. */
const held = async () => {
  for (let i = 0; i < 3; i++) {
    gc()
    await turn()
  }
  return {
    // What malloc has, by the settings below; V8's memory is its own affair.
    KiB: Number(/\\[heap\\][^]*?Rss: *(\\d+)/.exec(fs.readFileSync('/proc/self/smaps', 'utf8'))?.[1] ?? 0),
    // Memory of models lies beside it.
    mappedKiB: (process.memoryUsage.rss() - process.memoryUsage().heapTotal) / 1024,
    files: fs.readdirSync('/proc/self/fd').length,
    threads: fs.readdirSync('/proc/self/task').length,
    mapped: fs.readFileSync('/proc/self/maps', 'utf8').split('.safetensors').length,
  }
}
/** Prints what grew in each of up to ten windows, and nothing before: that opens a pipe. */
const windows = async (cycles, kept, cycle) => {
  const all = []
  let before = await held()
  while (all.length < 10) {
    for (let i = 0; i < cycles; i++) await cycle(i)
    const after = await held()
    const most = { KiB: (cycles * kept) / 4, mappedKiB: 2 * cycles * kept }
    const grown = Object.keys(after).filter((name) => after[name] - before[name] > (most[name] ?? 0))
    if (grown.length === 0) return console.log('flat')
    all.push(grown.map((name) => name + ' ' + Math.round(after[name] - before[name])).join())
    before = after
  }
  console.log(all.join('; '))
}
`

const env = {
  ...process.env,
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: '0',
}

/** Fails where a cycle keeps `kept` KiB, or a handle in any of them. */
async function expectFlat(cycles: number, kept: number, cycle: string): Promise<void> {
  const source = `${measure}\nawait windows(${cycles}, ${kept}, async (i) => {${cycle}})`
  expect(await runScript(source, { nodeArgs: ['--expose-gc'], env })).toEqual({
    ...{ code: 0, signal: null, stderr: '' },
    stdout: 'flat\n',
  })
}

describe.skipIf(process.platform !== 'linux')('nothing stays', () => {
  it('of models that were disposed', () =>
    expectFlat(
      200,
      20,
      `
      const model = await loadModel(dir, options)
      if (i % 4 === 0) await model.generate([3, 4], { maxNewTokens: 2 })
      if (i % 4 === 1) void model.forward([5]).catch(() => {}) // still runs when it is disposed
      await model.dispose()`,
    ))

  it('of models that nobody disposed', () =>
    expectFlat(
      120,
      80,
      `
      const model = await loadModel(dir, options)
      await model.forward([3, 4])
      if (i % 10 === 0) await held()`,
    ))

  it('of loads that were aborted or failed, and of sequences', () =>
    expectFlat(
      200,
      20,
      `
      globalThis.model ??= await loadModel(dir, options)
      const signal = AbortSignal.abort()
      await loadModel(dir, { ...options, onProgress() { throw 1 } }).catch(() => {})
      await loadModel(dir, { device: 'cpu', signal }).catch(() => {})
      await loadModel('/no/such/folder').catch(() => {})
      const sequence = model.sequence()
      await sequence.forward([3, 4])
      const fork = sequence.fork()
      sequence.dispose()
      await fork.forward([5])
      fork.dispose()`,
    ))
})
