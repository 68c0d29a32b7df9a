import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { demoModel, loadModel } from '../../lib/index.ts'
import { temporaryFolder } from '../support/files.ts'
import { range, root } from '../support/golden.ts'

const cli = `${root}/dist/cli/main.js`
const batch = (...args: string[]) =>
  spawnSync(process.execPath, [cli, 'batch', ...args], { encoding: 'utf8' })

const messages = [{ role: 'user' as const, content: 'Good morrow.' }]
const chat = { messages, max_tokens: 6, temperature: 0, ignore_eos: true }
const line = (custom_id: string, body: object = chat, url = '/v1/chat/completions') =>
  JSON.stringify({ custom_id, method: 'POST', url, body })
const answers = (file: string): any[] =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text))

function files(lines: string[]) {
  const folder = temporaryFolder()
  const [input, output] = ['in.jsonl', 'out.jsonl'].map((name) => path.join(folder, name))
  writeFileSync(input!, lines.join('\n'))
  return { input: input!, output: output! }
}

describe('moe-native batch', () => {
  it('answers as the library does, and says what is wrong with a request', async () => {
    const text = { prompt: 'ROMEO:', max_tokens: 5, temperature: 0 }
    const { input, output } = files([
      line('a'),
      '',
      line('b', text, '/v1/completions'),
      line('wrong', { ...chat, temperature: -1 }),
      line('stream', { ...chat, stream: true }),
    ])
    const { status, stdout } = batch(input, output, '--json')
    expect([status, JSON.parse(stdout)]).toEqual([0, { answered: 2, failed: 2, known: 0 }])
    const all = new Map(answers(output).map((one) => [one.custom_id, one.response]))
    await using model = await loadModel(demoModel, { device: 'cpu' })
    const options = { maxNewTokens: 6, temperature: 0, stopIds: [] }
    const said = await model.chat(messages, options)
    expect(all.get('a')).toMatchObject({
      status_code: 200,
      body: { model: 'moepp-tiny', choices: [{ message: { content: said.text } }] },
    })
    expect(all.get('b').body.usage.completion_tokens).toBe(5)
    const failed = ['wrong', 'stream'].map((id) => all.get(id))
    expect(failed.map(({ body }) => body.error.param)).toEqual(['temperature', 'stream'])
    expect(failed.map(({ status_code }) => status_code)).toEqual([400, 400])
  })

  it('goes on behind what is there, also behind half a line', () => {
    const { input, output } = files(range(5).map((i) => line(String(i))))
    const answer = (id: string, status: number) =>
      `${JSON.stringify({ custom_id: id, response: { status_code: status, body: {} } })}\n`
    writeFileSync(
      output,
      `${answer('3', 200)}${answer('1', 429)}${answer('2', 400)}{"custom_id":"0`,
    )
    const { status, stdout } = batch(input, output)
    expect([status, stdout]).toEqual([0, '3 answered, 0 failed, 2 known from before\n'])
    expect(
      answers(output)
        .map((one) => one.custom_id)
        .slice(0, 3),
    ).toEqual(['3', '1', '2'])
    expect(
      answers(output)
        .map((one) => one.custom_id)
        .sort(),
    ).toEqual(['0', '1', '1', '2', '3', '4'])
    expect(batch(input, output).stdout).toBe('0 answered, 0 failed, 5 known from before\n')
  })

  it('ended by a signal it keeps what is answered, and ends the rest later', async () => {
    const { input, output } = files(
      range(12).map((i) => line(String(i), { ...chat, max_tokens: 40 * (i + 1) })),
    )
    const child = spawn(process.execPath, [
      cli,
      'batch',
      input,
      output,
      '--concurrency',
      '2',
      '--max-tokens',
      '8192',
    ])
    while (!existsSync(output) || readFileSync(output).length === 0)
      await new Promise((resolve) => setTimeout(resolve, 2))
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([143, null])
    const before = answers(output).length
    expect(before).toBeLessThan(12)
    const { stdout } = batch(input, output, '--max-tokens', '8192')
    expect(stdout).toBe(`${12 - before} answered, 0 failed, ${before} known from before\n`)
    expect(new Set(answers(output).map((one) => one.custom_id)).size).toBe(12)
  })

  it('shards are all of it, once', () => {
    const { input, output } = files(
      range(7).map((i) => line(String(i), { ...chat, max_tokens: 1 })),
    )
    const ids = range(3).flatMap((i) => {
      const own = `${output}.${i}`
      expect(batch(input, own, '--shard', `${i}/3`).status).toBe(0)
      return answers(own).map((one) => one.custom_id)
    })
    expect(ids.sort()).toEqual(range(7).map(String))
  })

  it('lines end at \\n alone, and a byte order mark is none of the first', () => {
    const asked = {
      ...chat,
      max_tokens: 1,
      messages: [{ role: 'user', content: 'a\u2028b\u2029c' }],
    }
    const { input, output } = files([`\ufeff${line('a', asked)}\r`, line('b')])
    expect(batch(input, output).stdout).toBe('2 answered, 0 failed, 0 known from before\n')
    writeFileSync(input, Buffer.from(`\n${line('caf\xe9')}`, 'latin1'))
    const { status, stderr } = batch(input, output)
    expect([status, stderr.includes('in.jsonl:2: must be UTF-8')]).toEqual([2, true])
  })

  it.each([
    ['no JSON', ['{'], [], /in\.jsonl:1: must be JSON/],
    ['twice the same', [line('a'), line('a')], [], /custom_id "a" is not alone/],
    ['a route', [line('a'), line('b', chat, '/v1/embeddings')], [], /in\.jsonl:2: url must be/],
    ['a shard', [line('a')], ['--shard', '3/3'], /--shard must be i\/n/],
    ['concurrency', [line('a')], ['--concurrency', '0'], /--concurrency must be/],
  ])('refuses before it answers any: %s', (_, lines, args, message) => {
    const { input, output } = files(lines)
    const { status, stderr } = batch(input, output, ...args)
    expect([status, message.test(stderr), existsSync(output)]).toEqual([2, true, false])
  })

  it('does not write over what is no answer, nor over the requests', () => {
    const { input, output } = files([line('a')])
    for (const text of ['my thesis\n', 'my thesis']) {
      writeFileSync(output, text)
      expect(batch(input, output).status).toBe(2)
      expect(readFileSync(output, 'utf8')).toBe(text)
    }
    expect(batch(input, input).status).toBe(2)
  })
})
