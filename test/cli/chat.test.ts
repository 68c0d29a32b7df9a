import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ChatMessage, demoModel } from '../../lib/index.ts'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const cli = `${root}/dist/cli/main.js`

/** A conversation whose lines come from a pipe. */
async function converse(lines: string, ...args: string[]) {
  const child = spawn(process.execPath, [cli, 'chat', ...args])
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text) => (out[name] += text))
  child.stdin.end(lines)
  const [code] = (await once(child, 'close')) as [number]
  return { code, ...out }
}

describe('moe-native chat', () => {
  const model = useModel(demoModel, { device: 'cpu', maxTokens: 4096 })
  const args = ['--device', 'cpu', '-n', '12', '-t', '0']

  it('answers each line behind those before it, and forgets them on /reset', async () => {
    const messages: ChatMessage[] = []
    const expected: string[] = []
    const turn = async (content: string) => {
      messages.push({ role: 'user', content })
      const { text } = await model().chat(messages, { maxNewTokens: 12, temperature: 0 })
      messages.push({ role: 'assistant', content: text })
      expected.push(text)
    }
    for (const content of ['Good morrow.', 'Who calls?']) await turn(content)
    messages.length = 0
    await turn('Who calls?')
    const lines = 'Good morrow.\nWho calls?\n\n/reset\nWho calls?\n'
    const { code, stdout } = await converse(lines, ...args)
    expect([code, stdout]).toEqual([0, expected.map((text) => `${text}\n`).join('')])
    expect(expected[2]).not.toBe(expected[1])
  })

  it('goes on behind a backslash, answers again, and ends as elsewhere', async () => {
    const ask = async (content: string) =>
      (await model().chat([{ role: 'user', content }], { maxNewTokens: 12, temperature: 0 })).text
    const lines = '/retry\nGood morrow,\\\nmy lord.\n/retry\n/clear\nWho calls?\n/bye\nnever\n'
    const { code, stdout, stderr } = await converse(lines, ...args)
    const [first, second] = [await ask('Good morrow,\nmy lord.'), await ask('Who calls?')]
    expect([code, stdout]).toEqual([0, `${first}\n${first}\n${second}\n`])
    expect(stderr).toContain('there is nothing to answer yet')
  })

  it('has commands, and says so of those that are none', async () => {
    const lines = '/routing\nHello\n/routing\nHello\n/help\n/what\n/exit\nnever\n'
    const { code, stdout, stderr } = await converse(lines, ...args, '--system', 'A play.')
    expect(code).toBe(0)
    expect(stdout).not.toContain('never')
    const counts = [...stderr.matchAll(/^(?:> )*layer \d+: (.*)$/gm)].map(([, experts]) => experts!)
    expect(counts.length).toBe(4) // of the first answer
    for (const experts of counts)
      expect(experts).toMatch(/^expert \d+ \d+x(, expert \d+ \d+x)*(, …)? \(\d+ tokens\)$/)
    expect(stderr).toMatch(/\/reset +forget the conversation/)
    expect(stderr).toContain('there is no /what')
  })

  it('keeps conversations in files, and says what they take', async () => {
    const folder = temporaryFolder()
    const [file, bad] = [path.join(folder, 'talk.json'), path.join(folder, 'bad.json')]
    writeFileSync(bad, '{"role": "user"}')
    const first = ['/tokens', '/system A play.', 'Good morrow.', '/tokens', `/save ${file}`]
    const { stdout, stderr } = await converse(`${first.join('\n')}\n`, ...args)
    const messages: ChatMessage[] = JSON.parse(readFileSync(file, 'utf8'))
    expect(messages).toEqual([
      { role: 'system', content: 'A play.' },
      { role: 'user', content: 'Good morrow.' },
      { role: 'assistant', content: stdout.slice(0, -1) },
    ])
    const { ids } = await model().applyChatTemplate(messages, { addGenerationPrompt: false })
    expect(stderr).toMatch(/^(> )*0 tokens of \d+, 0 messages$/m)
    expect(stderr).toMatch(new RegExp(`^(> )*${ids.length} tokens of \\d+, 3 messages$`, 'm'))

    const lines = ['/load', '/load /no/file', `/load ${bad}`, `/load ${file}`, 'Who calls?']
    const next = await converse(
      `${lines.join('\n')}\n/save /no/folder/x\n/reset\n/tokens\n`,
      ...args,
    )
    const { text } = await model().chat([...messages, { role: 'user', content: 'Who calls?' }], {
      ...{ maxNewTokens: 12, temperature: 0 },
    })
    expect(next).toMatchObject({ code: 0, stdout: `${text}\n` })
    for (const said of [
      /needs the name of a file/,
      /\/no\/file: must be a conversation that \/save wrote, got ENOENT/,
      /must be a list of messages/,
      /user: Good morrow\.\n/,
      /ENOENT.*\/no\/folder\/x/,
      /0 tokens of \d+, 1 messages/,
    ])
      expect(next.stderr).toMatch(said)
  })

  it('goes on behind a message that does not fit', async () => {
    const lines = `${'word '.repeat(200)}\nHello\n`
    const { code, stdout, stderr } = await converse(lines, ...args, '--max-tokens', '128')
    expect(code).toBe(0)
    expect(stderr).toMatch(/prompt must be at most 128 tokens/)
    expect(stdout.length).toBeGreaterThan(1)
  })

  it.each([
    [['--json'], 2, /--json is for other commands/],
    [['--model', `${root}/demo/mixtral-tiny`], 1, /checkpoint must have a chat template/],
    [['--temperature', 'warm'], 2, /--temperature must be a number/],
  ])('refuses %j', async (flags, code, message) => {
    const ended = await converse('Hello\n', ...flags)
    expect(ended.code).toBe(code)
    expect(ended.stderr).toMatch(message)
  })

  it('SIGINT ends it with 130', async () => {
    const child = spawn(process.execPath, [
      cli,
      'chat',
      '--device',
      'cpu',
      '-t',
      '0',
      '--max-tokens',
      '60000',
    ])
    child.stdin.write('Hello\n')
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    expect(await once(child, 'close')).toEqual([130, null])
  })
})
