import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { range, root } from '../support/golden.ts'

// deploy/haproxy.cfg with two servers, on this machine.

const found = spawnSync('haproxy', ['-v'], { encoding: 'utf8' }).status === 0
if (!found)
  console.log(
    'test/server/replicas.test.ts is left out: there is no HAProxy (apt-get install haproxy)',
  )

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  return port
}

const until = async (done: () => Promise<boolean>) => {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 20))
}

describe.skipIf(!found)('two replicas behind HAProxy', () => {
  const children = new Set<ChildProcess>()
  let ports: number[] = []
  let replicas: ChildProcess[] = []
  let url = ''

  function start(command: string, args: string[], env = {}): ChildProcess {
    const options = { env: { ...process.env, MOE_API_KEY: '', ...env }, stdio: 'ignore' } as const
    const child = spawn(command, args, options)
    children.add(child)
    return child
  }
  // A busy machine takes its time for streams that a drain waits for.
  const replica = (port: number) => {
    const args = ['serve', '--port', String(port), '--drain-seconds', '600']
    return start(process.execPath, [`${root}/dist/cli/main.js`, ...args])
  }
  const status = (to: string) =>
    fetch(to).then(
      (r) => r.status,
      () => 0,
    )
  /** Texts that a replica writes now. */
  async function runningAt(i: number): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${ports[i]}/v1/stats`)
    return ((await response.json()) as any).running
  }
  const ask = (max_tokens: number, rest: object = {}, signal?: AbortSignal) =>
    fetch(`${url}/v1/completions`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify({ prompt: 'ROMEO:', max_tokens, ignore_eos: true, ...rest }),
      ...(signal && { signal }),
    })

  beforeAll(async () => {
    ports = await Promise.all([freePort(), freePort(), freePort()])
    replicas = ports.slice(0, 2).map(replica)
    url = `http://127.0.0.1:${ports[2]}`
    const [one, two, bind] = ports.map((port) => `127.0.0.1:${port}`)
    for (const i of [0, 1])
      await until(async () => (await status(`http://127.0.0.1:${ports[i]}/ready`)) === 200)
    const env = { BIND: bind, REPLICA_1: one, REPLICA_2: two }
    start('haproxy', ['-db', '-f', `${root}/deploy/haproxy.cfg`], env)
    await until(async () => (await status(`${url}/ready`)) === 200)
  })
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
  })

  it('share streams, and a client that leaves ends its text on the replica', async () => {
    const abort = new AbortController()
    const streams = await Promise.all(range(8).map(() => ask(2000, { stream: true }, abort.signal)))
    expect(await Promise.all([runningAt(0), runningAt(1)])).toEqual([4, 4])
    expect(streams.map((response) => response.headers.get('content-type'))).toEqual(
      range(8).map(() => 'text/event-stream; charset=utf-8'),
    )
    abort.abort()
    await until(async () => (await runningAt(0)) + (await runningAt(1)) === 0)
  })

  it('one that drains ends its streams, and nobody gets an error', async () => {
    const streams = range(4).map(async () => (await ask(1500, { stream: true })).text())
    await until(async () => (await runningAt(0)) + (await runningAt(1)) === 4)
    const exit = once(replicas[0]!, 'exit')
    replicas[0]!.kill('SIGTERM')
    let drained = false
    const others: number[] = []
    void exit.then(() => (drained = true))
    while (!drained) others.push((await ask(2)).status)
    expect(new Set(others)).toEqual(new Set([200]))
    for (const text of await Promise.all(streams)) expect(text).toMatch(/data: \[DONE\]\n\n$/)
    expect(await exit).toEqual([0, null])
  })

  it('one that was killed is missed by nobody who comes later, and comes back', async () => {
    replicas[0] = replica(ports[0]!)
    await until(async () => (await status(`http://127.0.0.1:${ports[0]}/ready`)) === 200)
    replicas[1]!.kill('SIGKILL')
    await once(replicas[1]!, 'exit')
    for (const _ of range(10)) expect((await ask(2)).status).toBe(200)
    const at = async () =>
      (await (await fetch(`http://127.0.0.1:${ports[0]}/metrics`)).text()).match(
        /moe_request_success_total\{[^}]*finished_reason="length"[^}]*\} (\d+)/,
      )?.[1]
    expect(Number(await at())).toBeGreaterThan(0)
  })
})
