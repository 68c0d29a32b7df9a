import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { root } from '../support/golden.ts'
import { runTypeScript, writeModule } from '../support/run_ts.ts'

const devices = ['cpu', ...(native().gpus('cuda-sim').gpus.length > 0 ? ['cuda-sim'] : [])]
const source = (name: string): string => readFileSync(`${root}/examples/${name}.ts`, 'utf8')
const run = (name: string, options = {}) => runTypeScript(`example-${name}`, source(name), options)

describe('examples', () => {
  it('each has a test here', () => {
    const names = readdirSync(`${root}/examples`).filter((file) => file.endsWith('.ts'))
    expect(names.sort()).toEqual(
      ['chat', 'expert_usage', 'kernels', 'routing_trace', 'server', 'worker'].map(
        (n) => `${n}.ts`,
      ),
    )
  })

  it('chat answers every line', async () => {
    const { status, stdout } = await run('chat', { input: 'ROMEO:\nWho is there?\n' })
    expect(status).toBe(0)
    expect(stdout.split('\n').length).toBeGreaterThan(2)
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

  it('worker writes from its thread', async () => {
    const { status, stdout } = await run('worker')
    expect(status).toBe(0)
    expect(stdout.length).toBeGreaterThan(10)
  })

  it.each(devices)('kernels make a block on %s', async (device) => {
    const { status, stdout } = await run('kernels', { args: [device] })
    expect(status).toBe(0)
    expect(stdout).toContain('out [ 4, 16 ]')
  })

  it('server streams, refuses bad input and survives a client that goes away', async () => {
    const server = spawn(
      process.execPath,
      [writeModule('example-server', source('server')), 'demo/moepp-tiny', '0'],
      {
        cwd: root,
      },
    )
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
    const abort = new AbortController()
    const gone = await fetch(`${url}?prompt=ROMEO:&maxNewTokens=3000`, { signal: abort.signal })
    await gone.body!.getReader().read()
    abort.abort()
    expect((await fetch(`${url}?prompt=ROMEO:&maxNewTokens=2`)).status).toBe(200)
    const ended = new Promise((resolve) => server.once('close', resolve))
    server.kill('SIGTERM')
    await ended
  })
})
