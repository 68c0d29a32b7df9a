import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'

const folder = temporaryFolder()
const at = (name: string) => path.join(folder, name)
const shell = (line: string) =>
  spawnSync('bash', ['-c', line], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, MOE: `${process.execPath} ${root}/dist/cli/main.js` },
  })

writeFileSync(at('latin1.txt'), Buffer.from('caf\xe9', 'latin1'))
writeFileSync(at('text.txt'), 'ROMEO:\nBut soft, what light through yonder window breaks?')
mkdirSync(at('folder'))
const body = { prompt: 'ROMEO:', max_tokens: 300, ignore_eos: true }
writeFileSync(
  at('in.jsonl'),
  JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/completions', body }),
)

// A file takes 1024 bytes: the first write ends early without an error, the next one fails.
describe.skipIf(process.platform !== 'linux')('a file that cannot take all of it', () => {
  it.each([
    ['standard output', '$MOE forward --ids 1,2,3 --json > out.json', 'out.json'],
    ['the answers of a batch', '$MOE batch in.jsonl out.jsonl', 'out.jsonl'],
  ])('%s', (_, command, out) => {
    const { status, stderr } = shell(`ulimit -f 1; ${command}`)
    expect(stderr).toMatch(/EFBIG/)
    expect([status, statSync(at(out)).size]).toEqual([1, 1024])
  })

  it('but a file that can gets all of it', () => {
    expect(shell('$MOE forward --ids 1,2,3 --json > whole.json').status).toBe(0)
    expect(JSON.parse(readFileSync(at('whole.json'), 'utf8')).results).toHaveLength(1)
  })
})

describe.skipIf(process.platform !== 'linux')('what a command line gets wrong about files', () => {
  it.each([
    [
      'bytes that are no text',
      'generate --prompt-file latin1.txt',
      /--prompt-file must be a file of UTF-8/,
    ],
    [
      'a file without an end',
      'generate --prompt-file /dev/zero',
      /--prompt-file must .* more than/,
    ],
    ['a text without an end', 'eval --text /dev/zero', /--text must be .* more than/],
    [
      'no other model',
      "eval --text text.txt --against ''",
      /--against must be the path of a folder/,
    ],
    ['no requests', 'batch none.jsonl x.jsonl', /none\.jsonl: must be a file, got ENOENT/],
    ['requests in a folder', 'batch folder x.jsonl', /folder: must be a file, got EISDIR/],
    [
      'answers nowhere',
      'batch in.jsonl none/x.jsonl',
      /none\/x\.jsonl: must be a file, got ENOENT/,
    ],
    ['requests without an end', 'batch /dev/zero x.jsonl', /\/dev\/zero: must be a file/],
    ['answers into a device', 'batch in.jsonl /dev/null', /\/dev\/null: must be/],
    ['half a token', 'info --max-tokens 1.5', /--max-tokens must be a whole number/],
    ['no tokens', 'bench linear --tokens 0', /--tokens must be whole numbers of at least 1/],
    ['a dash', 'generate hi --temperature -1', /--temperature must be .* got -1/],
  ])('%s', (_, args, message) => {
    const { status, stdout, stderr } = shell(`$MOE ${args}`)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
  })

  it('a pipe is a file, too', () => {
    const { stdout, stderr } = shell("$MOE generate -n 1 --prompt-file <(printf 'ROMEO:')")
    expect(stdout).toMatch(/^ROMEO:/)
    expect(stderr).toMatch(/^\d+ prompt tokens/)
  })
})
