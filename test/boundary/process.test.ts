import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadModel, MoeError } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { temporaryFolder } from '../support/files.ts'
import { range, root } from '../support/golden.ts'

const run = promisify(execFile)
const dist = `${root}/dist/index.js`
const demo = `${root}/demo/moepp-tiny`

/** Runs a module in a process of its own. */
async function script(source: string, env: Record<string, string> = {}): Promise<string> {
  const file = path.join(temporaryFolder(), 'script.mjs')
  writeFileSync(file, source)
  const { stdout } = await run(process.execPath, [file], {
    env: { ...process.env, ...env },
    timeout: 150_000,
  })
  return stdout.trim()
}

const load = `import { loadModel } from ${JSON.stringify(dist)}; const model = await loadModel(${JSON.stringify(demo)});`

describe('the process', () => {
  it.each(native().cpu().isas)('MOE_CPU_ISA=%s is used', async (isa) => {
    expect(await script(`${load} console.log(model.device.isa)`, { MOE_CPU_ISA: isa })).toBe(isa)
  })

  it('an unknown MOE_CPU_ISA is an error that lists the known ones', async () => {
    const source = `import { loadModel } from ${JSON.stringify(dist)}; loadModel(${JSON.stringify(demo)}).catch((e) => console.log(e.code, e.message))`
    expect(await script(source, { MOE_CPU_ISA: 'sse9' })).toMatch(
      /ERR_MOE_OPTION MOE_CPU_ISA: instruction set must be baseline.*got sse9/,
    )
  })

  it('ends by itself when a model is left loaded', async () => {
    expect(await script(`${load} await model.forward([1, 2]); console.log('done')`)).toBe('done')
  })

  it('can exit in the middle of a generation', async () => {
    const source = `${load} const g = model.generate([1], { maxNewTokens: 4000, stopIds: [] }); for await (const _ of g) { console.log('exit'); process.exit(0) }`
    expect(await script(source)).toBe('exit')
  })

  it('can be required from CommonJS', async () => {
    const source = `import { createRequire } from 'node:module'; const moe = createRequire(import.meta.url)(${JSON.stringify(dist)}); console.log(typeof moe.loadModel)`
    expect(await script(source)).toBe('function')
  })

  it('importing never loads the addon; a missing addon is a typed error', async () => {
    const source = `
      import { cpSync } from 'node:fs'
      cpSync(${JSON.stringify(`${root}/dist`)}, './copy/dist', { recursive: true })
      cpSync(${JSON.stringify(`${root}/package.json`)}, './copy/package.json')
      const { loadModel, devices } = await import(process.cwd() + '/copy/dist/index.js')
      await loadModel(${JSON.stringify(demo)}).catch((e) => console.log(e.name, e.code))
      console.log((await devices())[0].available)`
    const dir = temporaryFolder()
    const file = path.join(dir, 'script.mjs')
    mkdirSync(path.join(dir, 'copy'))
    writeFileSync(file, source)
    const env = { ...process.env, NODE_PATH: '' }
    // node_modules is found from the copy, the addon is not.
    mkdirSync(path.join(dir, 'node_modules'))
    const link = `import { symlinkSync } from 'node:fs'; for (const m of ['node-gyp-build', '@huggingface', '@msgpack']) symlinkSync(${JSON.stringify(`${root}/node_modules/`)} + m, 'node_modules/' + m)`
    writeFileSync(path.join(dir, 'link.mjs'), link)
    await run(process.execPath, ['link.mjs'], { cwd: dir, env })
    const { stdout } = await run(process.execPath, ['script.mjs'], { cwd: dir, env })
    expect(stdout.trim().split('\n')).toEqual(['MoeError ERR_MOE_NATIVE_LOAD', 'false'])
  })
})

describe('worker threads', () => {
  const worker = `
    import { parentPort, workerData } from 'node:worker_threads'
    import { loadModel } from ${JSON.stringify(dist)}
    const model = await loadModel(${JSON.stringify(demo)}, { maxTokens: 2048 })
    const { ids } = await model.generate([1, 2, 3], { maxNewTokens: 10, stopIds: [] })
    parentPort.postMessage(ids.join())
    for (let k = 0; k < 3; k++) model.generate([k + 1], { maxNewTokens: 2000, stopIds: [] }).catch(() => {})
    if (workerData.exit) setTimeout(() => process.exit(0), 5)`
  let file: string
  beforeAll(() => {
    file = path.join(temporaryFolder(), 'worker.mjs')
    writeFileSync(file, worker)
  })

  it('several at once, terminated at random moments of a generation', async () => {
    const source = `
      import { Worker } from 'node:worker_threads'
      const answers = new Set()
      for (let round = 0; round < 6; round++)
        await Promise.all([0, 1, 2].map(async (i) => {
          const worker = new Worker(${JSON.stringify(file)}, { workerData: { exit: i === 2 } })
          const ended = new Promise((resolve) => worker.once('exit', resolve))
          answers.add(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)))
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
          await worker.terminate()
          await ended
        }))
      console.log(answers.size)`
    expect(await script(source)).toBe('1')
  })
})

describe('the event loop', () => {
  it('stays free during a long prefill', async () => {
    await using model = await loadModel(`${root}/demo/yuan-tiny`, {
      device: 'cpu',
      maxTokens: 8192,
    })
    const running = model.forward(range(6000).map((i) => i % 2000))
    // Whether the timer runs all along; how late it is at worst is measured by bench/event_loop.mjs.
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    await running
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })
})

describe('errors', () => {
  it('are one class with a code, and can be told from others', () => {
    const error = new MoeError('ERR_MOE_OPTION', 'x', { cause: 1 })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'MoeError',
      code: 'ERR_MOE_OPTION',
      message: 'x',
      cause: 1,
    })
  })
})
