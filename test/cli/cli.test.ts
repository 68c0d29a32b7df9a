import { spawn } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { copyCheckpoint, readStored, temporaryFolder } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { torchFile } from '../support/pytorch.ts'

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function cli(...args: string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`${root}/dist/cli/main.js`, ...args])
    const out = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text) => (out[name] += text))
    child.once('error', reject).once('close', (code) => resolve({ code, ...out }))
  })
}

const json = async (...args: string[]) => {
  const { code, stdout } = await cli(...args, '--json')
  expect(stdout.trim().split('\n')).toHaveLength(1)
  return { code, value: JSON.parse(stdout) }
}

describe('moe-native', () => {
  it.each(['', 'generate', 'forward', 'info', 'convert'])('%s --help teaches', async (command) => {
    const { code, stdout } = await cli(...(command ? [command] : []), '--help')
    expect(code).toBe(0)
    expect(stdout).toMatch(/moe-native (generate|forward|info|convert)/)
  })

  it("generate writes the demo's text, and its speed beside it", async () => {
    const { code, stdout, stderr } = await cli('generate', '--prompt', 'ROMEO:\n', '-n', '12')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ROMEO:\n.+/)
    expect(stderr).toMatch(/12 new tokens at \d+\/s on .+ \(\w+, (f32|bf16)\)\n$/)
  })

  const simulator = native().gpus('cuda-sim').gpus.length > 0
  it.skipIf(!simulator)(
    'generate names a GPU with its capability (needs the simulator)',
    async () => {
      const args = [
        '--ids',
        '1,2,3',
        '-n',
        '2',
        '-d',
        'cuda-sim',
        '--max-tokens',
        '64',
        '--ignore-eos',
      ]
      const { code, stderr } = await cli('generate', ...args)
      expect(code).toBe(0)
      expect(stderr).toMatch(/2 new tokens at \d+\/s on .+ \(compute capability \d+\.\d, bf16\)\n$/)
    },
  )

  it('generate --json', async () => {
    const { value } = await json(
      'generate',
      '--ids',
      '5,6,7',
      '-n',
      '3',
      '--ignore-eos',
      '--logprobs',
      '2',
      '--routing',
    )
    expect(value.ids).toHaveLength(3)
    expect(value).toMatchObject({
      finishReason: 'length',
      usage: { promptTokens: 3, completionTokens: 3 },
    })
    expect(value.logprobs[0].top).toHaveLength(2)
    expect(value.routing[0].expertIds).toHaveLength(2 * 5)
  })

  it('generate with sampling, stop strings and another model', async () => {
    const args = [
      'generate',
      '-m',
      `${root}/demo/yuan-tiny`,
      '-p',
      'ROMEO:\n',
      '-n',
      '20',
      '-t',
      '0.8',
      '--top-p',
      '0.9',
      '--top-k',
      '40',
      '--min-p',
      '0.01',
      '--seed',
      '3',
      '--repetition-penalty',
      '1.1',
      '--stop',
      '\n',
    ]
    const [a, b] = await Promise.all([json(...args), json(...args)])
    expect(a.value.text).toBe(b.value.text)
    expect(a.value.text).not.toContain('\n')
  })

  it('forward --json: one entry for each --ids', async () => {
    const { value } = await json(
      'forward',
      '--ids',
      '1,2,3',
      '--ids',
      '4,5',
      '--logits',
      'all',
      '--routing',
    )
    expect(value.results.map((r: any) => r.logits.length)).toEqual([
      3 * value.vocabSize,
      2 * value.vocabSize,
    ])
    expect(value.results[1].routing[0].expertIds).toHaveLength(4)
    expect((await cli('forward', '--ids', '1,2')).stdout).toMatch(/^1,2: \d+ \(/)
  })

  it('info: architecture, parameters, experts by kind, memory', async () => {
    const { value } = await json('info')
    expect(value).toMatchObject({
      architecture: 'moepp',
      parameters: { total: 2370240, activePerToken: 928448 },
      experts: { ffn: 8, constant: 2, copy: 1, zero: 1 },
    })
    expect(value.memory.weightBytes).toBeGreaterThan(4e6)
    expect((await cli('info', '-m', `${root}/demo/mixtral-tiny`)).stdout).toMatch(
      /architecture\s+mixtral/,
    )
  })

  it('convert turns PyTorch files into a folder that loads', async () => {
    const dir = copyCheckpoint(fixture('golden/moepp/base-f32'))
    writeFileSync(
      path.join(dir, 'pytorch_model.bin'),
      torchFile(readStored(path.join(dir, 'model.safetensors'))),
    )
    rmSync(path.join(dir, 'model.safetensors'))
    const out = path.join(temporaryFolder(), 'out')
    expect((await json('convert', dir, out)).value).toEqual({ out })
    expect((await json('forward', '-m', out, '--ids', '1')).code).toBe(0)
  })

  it.each<[string, string[], number, RegExp]>([
    ['an unknown command', ['nonsense'], 2, /unknown command 'nonsense'/],
    ['a name every object has', ['constructor'], 2, /unknown command/],
    ['an unknown option', ['generate', '--nonsense'], 2, /--nonsense/],
    [
      'a number that is none',
      ['generate', '-t', 'hot'],
      2,
      /--temperature must be a number, got 'hot'/,
    ],
    ['a number that is too small', ['info', '--rope-theta', '0'], 2, /--rope-theta .* at least 1/],
    ['a dtype that is none', ['info', '--dtype', 'i8'], 2, /--dtype must be auto \| f32 \| bf16/],
    ['a dtype bench has not', ['bench', '--dtype', 'auto'], 2, /--dtype must be bf16 \| f32/],
    ['a table that is none', ['info', '--rope-table', 'x'], 2, /--rope-table must be published/],
    ['logits that are none', ['forward', '--ids', '1', '--logits', 'x'], 2, /--logits must be all/],
    ['sampling that is wrong', ['generate', '--top-p', '2'], 1, /ERR_MOE_OPTION generate: topP/],
    ['ids that are none', ['forward', '--ids', '1,x'], 2, /--ids must be token ids/],
    ['no ids', ['forward'], 2, /--ids must be given/],
    ['a prompt and ids', ['generate', '-p', 'x', '--ids', '1'], 2, /not both/],
    ['convert without a target', ['convert', 'x'], 2, /needs DIR and OUT/],
    ['a folder that is missing', ['info', '-m', '/no/such/folder'], 1, /ERR_MOE_CHECKPOINT/],
    ['an id beyond the vocabulary', ['forward', '--ids', '99999'], 1, /ERR_MOE_OPTION/],
    ['a GPU that is not there', ['generate', '-d', 'cuda'], 1, /ERR_MOE_CUDA_UNAVAILABLE/],
  ])('%s fails with a message', async (_, args, code, message) => {
    const ended = await cli(...args)
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(ended.stderr).toMatch(message)
  })

  it('a failure with --json is one object, too', async () => {
    const { code, value } = await json('forward', '--ids', '99999')
    expect(code).toBe(1)
    expect(value.error).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringMatching(/ids\[0\]/),
    })
  })
})
