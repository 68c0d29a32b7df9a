import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { root } from '../support/golden.ts'
import { type Installed, installPackage, userNode } from '../support/installed.ts'
import { problems } from '../support/type_check.ts'

const names = readdirSync(`${root}/examples`).filter((file) => file.endsWith('.mjs'))
const source = (name: string): string => readFileSync(`${root}/examples/${name}.mjs`, 'utf8')
const simulator = native().gpus('cuda-sim').gpus.length > 0

// As they are, in an empty project with the package installed.
describe('examples', () => {
  let installed: Installed
  beforeAll(() => {
    installed = installPackage('built')
  })
  const run = (name: string, options = {}) => installed.run(`${name}.mjs`, source(name), options)

  it('each has a test here', () => {
    expect(names.sort()).toEqual(
      [
        ...['adapters', 'chat', 'encoder_decoder', 'expert_usage', 'kernels'],
        ...['routing_trace', 'server', 'worker'],
      ].map((n) => `${n}.mjs`),
    )
  })

  it('type-check', () => {
    const { config } = ts.readConfigFile(`${root}/examples/tsconfig.json`, ts.sys.readFile)
    const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, `${root}/examples`)
    expect(fileNames).toHaveLength(names.length)
    expect(problems(ts.createProgram(fileNames, options))).toEqual([])
  })

  it('chat answers every line', async () => {
    const { status, stdout } = await run('chat', { input: 'ROMEO:\nWho is there?\n' })
    expect(status).toBe(0)
    expect(stdout.split('\n').length).toBeGreaterThan(2)
  })

  it('adapters writes with and without one', async () => {
    const { status, stdout } = await run('adapters')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^random: rank 8, 8 modules, 0.07 MB\n--- base\n.+\n--- random\n/s)
  })

  it('routing_trace shows every token and layer', async () => {
    const { status, stdout } = await run('routing_trace')
    expect(status).toBe(0)
    expect(stdout).toMatch(/layer 0: (ffn \d+|zero|copy|constant) \d+ %/)
  })

  it('expert_usage counts slots', async () => {
    const { status, stdout } = await run('expert_usage')
    expect(status).toBe(0)
    expect(stdout).toMatch(/\d % of the chosen slots are FFN experts/)
  })

  it('encoder_decoder reads and writes', async () => {
    const { status, stdout } = await run('encoder_decoder')
    expect(status).toBe(0)
    expect(stdout).toMatch(/encoder layer 1: \d+ of 24 tokens dropped/)
    expect(stdout).toMatch(/^(\d+ ?){1,20}$/m)
  })

  it('worker writes from its thread', async () => {
    const { status, stdout } = await run('worker')
    expect(status).toBe(0)
    expect(stdout.length).toBeGreaterThan(10)
  })

  it('kernels make a block on the CPU', async () => {
    const { status, stdout } = await run('kernels')
    expect(status).toBe(0)
    expect(stdout).toContain('out [ 4, 16 ]')
  })

  it.skipIf(!simulator)('kernels make a block on cuda-sim (needs the simulator)', async () => {
    const { status, stdout } = await run('kernels', { args: ['cuda-sim'] })
    expect(status).toBe(0)
    expect(stdout).toContain('out [ 4, 16 ]')
  })

  /** Makes `generate` fail after its first chunk for one prompt, in the server's own process. */
  const failing = `
    import { demoModel, loadModel, MoeError } from 'moe-native'
    const model = await loadModel(demoModel)
    const prototype = Object.getPrototypeOf(model)
    const { generate } = prototype
    prototype.generate = function (prompt, options) {
      if (prompt !== 'FAIL') return generate.call(this, prompt, options)
      return (async function* () {
        yield { text: 'first' }
        throw new MoeError('ERR_MOE_DEVICE', 'gone')
      })()
    }
    await model.dispose()
    process.argv[3] = '0'
    await import('./server.mjs')`

  it('server streams, refuses bad input, and survives late errors and clients that go away', async () => {
    const { app } = installed
    writeFileSync(path.join(app, 'server.mjs'), source('server'))
    writeFileSync(path.join(app, 'failing.mjs'), failing)
    const server = spawn(userNode, ['failing.mjs'], { cwd: app })
    const port = await new Promise<number>((resolve) => {
      server.stdout.on('data', (chunk: Buffer) => {
        const match = /"port":(\d+)/.exec(String(chunk))
        if (match) resolve(Number(match[1]))
      })
    })
    const url = `http://127.0.0.1:${port}/generate`
    const text = await (await fetch(`${url}?prompt=ROMEO:&maxNewTokens=5`)).text()
    expect(text.match(/^data: \{"text":/gm)).toHaveLength(5)
    expect(text).toContain('[DONE]')
    const bad = await fetch(`${url}?prompt=ROMEO:&maxNewTokens=-1`)
    expect(bad.status).toBe(400)
    expect(await bad.json()).toMatchObject({ error: { code: 'ERR_MOE_OPTION' } })
    const late = await (await fetch(`${url}?prompt=FAIL`)).text()
    expect(late).toMatch(/^data: \{"text":"first"\}\n\nevent: error\ndata: .*ERR_MOE_DEVICE.*\n\n$/)
    expect((await fetch(`http://127.0.0.1:${port}/nothing`)).status).toBe(404)
    const abort = new AbortController()
    const gone = await fetch(`${url}?prompt=ROMEO:&maxNewTokens=3000`, { signal: abort.signal })
    await gone.body!.getReader().read()
    abort.abort()
    expect((await fetch(`${url}?prompt=ROMEO:&maxNewTokens=2`)).status).toBe(200)
    const ended = new Promise((resolve) => server.once('close', resolve))
    server.kill('SIGTERM')
    expect(await ended).toBe(0)
  })
})
