import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'

const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

/** `moe-native serve` on a free port, once it listens. */
async function start(...args: string[]) {
  const child = spawn(
    process.execPath,
    [`${root}/dist/cli/main.js`, 'serve', '--port', '0', ...args],
    {
      env: { ...process.env, MOE_API_KEY: '' },
    },
  )
  children.push(child)
  const out = { stderr: '' }
  child.stderr.setEncoding('utf8').on('data', (text) => (out.stderr += text))
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return { child, line, out, url: /http:\/\/[^\s"]+/.exec(line)![0] }
}

const ask = (url: string, body: object) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Good morrow.' }], ...body }),
  })

describe('moe-native serve', () => {
  it('says where it listens, and answers under the folder’s name', async () => {
    const { line, url, child, out } = await start('--log')
    expect(line).toMatch(/^http:\/\/127\.0\.0\.1:\d+ on .+\n$/)
    const answer = await (await ask(url, { model: 'moepp-tiny', max_tokens: 5 })).json()
    expect(answer).toMatchObject({ model: 'moepp-tiny', usage: { completion_tokens: 5 } })
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
    const logged = out.stderr.split('\n').find((text) => text.startsWith('{'))
    expect(JSON.parse(logged!)).toMatchObject({ path: '/v1/chat/completions', status: 200 })
  })

  it('lets answers end on SIGTERM, and ends with 0', async () => {
    const { url, child } = await start('--json', '--drain-seconds', '600')
    const answer = await ask(url, { max_tokens: 1500, ignore_eos: true, stream: true })
    child.kill('SIGTERM')
    const exit = once(child, 'exit')
    expect(await answer.text()).toMatch(/"finish_reason":"length"\}\]\}\n\ndata: \[DONE\]\n\n$/)
    expect(await exit).toEqual([0, null])
  })

  it('ends at once on a second signal', async () => {
    const { url, child } = await start('--max-tokens', '60000')
    const answer = await ask(url, { max_tokens: 50_000, ignore_eos: true, stream: true })
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    while ((await fetch(`${url}/ready`)).status !== 503);
    child.kill('SIGTERM')
    expect(await exit).toEqual([1, null])
    await answer.body!.cancel().catch(() => {})
  })

  it.each([
    [
      ['--host', '0.0.0.0'],
      /^moe-native: --host must be .* unless there is an --api-key, or --insecure,/,
    ],
    [['--porrt', '1'], /unknown option '--porrt'; did you mean --port\?/],
    [['--max-waiting', 'x'], /--max-waiting must be a number/],
  ])('refuses %j', async (args, message) => {
    const child = spawn(process.execPath, [`${root}/dist/cli/main.js`, 'serve', ...args])
    children.push(child)
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
    expect(await once(child, 'close')).toEqual([2, null])
    expect(stderr).toMatch(message)
  })
})
