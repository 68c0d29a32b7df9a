import { spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { cli, cliIn } from '../support/cli.ts'
import { copyCheckpoint, readStored, temporaryFolder } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { torchFile } from '../support/pytorch.ts'

const json = async (...args: string[]) => {
  const { code, stdout } = await cli(...args, '--json')
  expect(stdout.trim().split('\n')).toHaveLength(1)
  return { code, value: JSON.parse(stdout) }
}

const verbs = [
  ...['generate', 'chat', 'serve', 'batch', 'forward', 'routing', 'info', 'doctor', 'pull'],
  ...['convert', 'quantize', 'eval', 'bench'],
]

describe('moe-native', () => {
  it.each(['', ...verbs])('%s --help teaches, in 80 columns', async (command) => {
    const { code, stdout } = await cli(...(command ? [command] : []), '--help')
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^moe-native${command ? ` ${command}` : ''}\\b`))
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  it('--help names every command', async () => {
    const { stdout } = await cli('--help')
    const named = [...stdout.matchAll(/^ {2}moe-native (\w+)/gm)].map(([, name]) => name)
    expect(named.filter((name) => name !== 'help')).toEqual(verbs)
  })

  it("generate writes the demo's text, and its speed beside it", async () => {
    const { code, stdout, stderr } = await cli('generate', '--prompt', 'ROMEO:\n', '-n', '12')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ROMEO:\n.+/)
    expect(stderr).toMatch(/12 new tokens at \d+\/s on .+ \(\w+, (f32|bf16)\)\n$/)
  })

  it('generate takes its prompt as TEXT, from a file or from standard input, all alike', async () => {
    const file = path.join(temporaryFolder(), 'prompt.txt')
    writeFileSync(file, 'JULIET:')
    const rest = ['-n', '6', '--json']
    const asked = [['JULIET:'], ['-p', 'JULIET:'], ['--prompt-file', file]]
    const ended = await Promise.all(asked.map((args) => cli('generate', ...args, ...rest)))
    const main = `${root}/dist/cli/main.js`
    for (const args of [['-'], ['-p', '-'], ['--prompt-file', '-']]) {
      const command = [main, 'generate', ...args, ...rest]
      const { status, stdout } = spawnSync(process.execPath, command, {
        ...{ input: 'JULIET:', encoding: 'utf8' },
      })
      ended.push({ code: status, stdout, stderr: '' })
    }
    const texts = ended.map(({ stdout }) => JSON.parse(stdout).text)
    expect(texts[0]).not.toBe('')
    expect(new Set(texts).size).toBe(1)
  })

  it('generate takes what a shell pipes in, and can leave out all but what it writes', async () => {
    const main = `${root}/dist/cli/main.js`
    const shell = (text: string, args: string) => {
      const line = `printf '${text}' | "${process.execPath}" "${main}" generate -n 6 ${args}`
      return spawnSync('sh', ['-c', line], { encoding: 'utf8' })
    }
    const piped = shell('JULIET:', '')
    expect(piped.stdout).toMatch(/^JULIET:\s*\S/)
    const alone = shell('JULIET:', '--quiet --no-display-prompt')
    expect(alone.stderr).toBe('')
    expect(`JULIET:${alone.stdout}`).toBe(piped.stdout)
    expect(shell('', '').stdout).toMatch(/^ROMEO:/)
    expect(shell('JULIET:', 'ROMEO:').stdout).toMatch(/^ROMEO:/)
  })

  it('a number below zero is a value', async () => {
    const { code } = await cli('generate', 'x', '--presence-penalty', '-1', '-n', '1')
    expect(code).toBe(0)
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

  it('generate says routing and probabilities in words', async () => {
    const args = ['ROMEO:', '-n', '5', '--ignore-eos', '--logprobs', '2', '--routing']
    const { code, stdout } = await cli('generate', ...args)
    expect(code).toBe(0)
    const [text, probabilities, routing, ...rest] = stdout.split('\n\n')
    expect(text).toMatch(/^ROMEO:/)
    expect(rest).toEqual([])
    const tokens = probabilities!.split('\n')
    expect(tokens).toHaveLength(5)
    for (const line of tokens) expect(line).toMatch(/^".*" +[01]\.\d{3} {2}"/)
    const layers = routing!.trimEnd().split('\n')
    expect(layers).toHaveLength(4)
    for (const line of layers) expect(line).toMatch(/^layer \d: expert \d+ \dx.* \(4 tokens\)$/)
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
    expect(value.tokenizer).toMatchObject({ file: 'tokenizer.model', chatTemplate: true })
    expect(value.endIds).toEqual([3])
    expect(Object.keys(value.elementTypes)).toEqual(['BF16'])
    expect(value.fits).toMatchObject([{ device: 'cpu', fits: true }])
    const { stdout } = await cli('info', '-m', `${root}/demo/mixtral-tiny`, '-d', 'cpu')
    expect(stdout).toMatch(/^architecture +mixtral$/m)
    expect(stdout).toMatch(/^tokenizer +tokenizer\.model, \d+ tokens, no chat template$/m)
    expect(stdout).toMatch(/^text ends at +\d+ \(<\w+>\)$/m)
    expect(stdout).toMatch(/^fits cpu +yes: [\d.]+ MB with a cache of \d+ tokens, .* are left$/m)
  })

  it('info says what would fit where a model does not', async () => {
    const { code, stdout } = await cli('info', '--max-tokens', '99999999')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^fits cpu +no: [\d.]+ GB with a cache of 100000000 tokens, of/m)
    expect(stdout.replaceAll(/\n {14}/g, ' ')).toMatch(/; maxTokens \d+ would fit$/m)
  })

  it.each([...['vision/top2-token-f32', 'vision/slots1-gap-f32', 'seq2seq/overflow-tied-f32']])(
    'info of another kind of model: %s',
    async (name) => {
      const dir = fixture(`golden/${name}`)
      const { value } = await json('info', '-m', dir)
      expect(value).toMatchObject({ hasWeights: true, fits: [{ device: 'cpu', fits: true }] })
      expect(value.memory.weightBytes).toBeGreaterThan(0)
      const alone = temporaryFolder()
      copyFileSync(`${dir}/config.json`, `${alone}/config.json`)
      const { value: said } = await json('info', '-m', alone)
      expect(said).toMatchObject({ hasWeights: false, parameters: value.parameters })
      expect((await cli('info', '-m', dir)).stdout).toMatch(/^experts +\d+ of inner size \d+ in/m)
    },
  )

  it('info of an adapter, and of experts beside a model', async () => {
    const dir = fixture('golden/lora_experts/peft-f32/adapter-b')
    const { value } = await json('info', '-m', dir)
    const kinds = ['k_proj', 'o_proj', 'q_proj', 'v_proj']
    expect(value).toMatchObject({ adapter: 'LoRA', baseModel: '..', modules: 8, kinds, ranks: [8] })
    expect(value.bytes).toBe(4 * value.parameters)
    expect((await cli('info', '-m', dir)).stdout).toMatch(/^modules +8 \(k_proj, o_proj/m)
    const beside = fixture('golden/lora_experts/t5-phatgoose-f32')
    const { stdout } = await cli('info', '-m', beside)
    expect(stdout).toMatch(
      /^LoRA experts +PHATGOOSE: 5 of rank 4 beside each of 36 modules, top 2/m,
    )
  })

  it('a hub id that is not in the cache says so, offline', async () => {
    const env = { HF_HUB_OFFLINE: '1', HF_HOME: temporaryFolder() }
    const { code, stderr } = await cliIn(env, 'info', '-m', 'org/name')
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /ERR_MOE_CHECKPOINT org\/name: folder must exist, .* model must be in the cache/,
    )
  })

  it.each(['moepp-tiny', 'yuan-tiny', 'mixtral-tiny'])(
    'info of the config.json of %s alone',
    async (name) => {
      const { value: whole } = await json('info', '-m', `${root}/demo/${name}`)
      const dir = temporaryFolder()
      copyFileSync(`${root}/demo/${name}/config.json`, `${dir}/config.json`)
      const { value } = await json('info', '-m', dir)
      const memory = { ...whole.memory, fileBytes: 0 }
      const absent = { hasWeights: false, elementTypes: {}, tokenizer: null, endIds: value.endIds }
      for (const { fits } of [value, whole]) for (const one of fits) delete one.freeBytes
      expect(value).toEqual({ ...whole, dir, ...absent, memory })
      expect(whole.hasWeights).toBe(true)
      expect((await cli('info', '-m', dir)).stdout).toMatch(/^checkpoint .*no weights there/)
    },
  )

  it('info of a config.json alone: too large for this machine, and quantized', async () => {
    const dir = temporaryFolder()
    const large = { num_hidden_layers: 126, hidden_size: 16384, intermediate_size: 53248 }
    const config = { model_type: 'mixtral', vocab_size: 32000, ...large, num_attention_heads: 128 }
    writeFileSync(
      `${dir}/config.json`,
      JSON.stringify({ ...config, quantization_config: { quant_method: 'gptq', bits: 4 } }),
    )
    const { code, stdout } = await cli('info', '-m', dir)
    expect(code).toBe(0)
    expect(stdout).toMatch(/parameters +\d{4}\.\d+ billion/)
    expect(stdout).toMatch(/memory +\d+(\.\d+)? TB weights without their quantization, /)
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
    ['a misspelt command', ['generat'], 2, /unknown command 'generat'; did you mean generate\?/],
    ["another program's command", ['run'], 2, /unknown command 'run'; did you mean chat\?/],
    ['help for no command', ['help', 'nonsense'], 2, /unknown command 'nonsense'/],
    [
      'an unknown option',
      ['generate', '--nonsense'],
      2,
      /unknown option '--nonsense'\n.*see moe-native help generate\n/,
    ],
    ['a misspelt option', ['generate', '--topp', '1'], 2, /'--topp'; did you mean --top-p\?/],
    ['an option without its value', ['generate', '--seed'], 2, /: --seed needs a value/],
    ['a value like an option', ['generate', '-n', '-x'], 2, /: -n needs a value; .*--name=-value/],
    ['a value for none', ['generate', '--json=1'], 2, /: --json takes no value/],
    ['an argument too many', ['info', 'x'], 2, /'x' is not expected; did you mean --model x\?/],
    ['the same without a model', ['doctor', 'x'], 2, /'x' is not expected\n/],
    [
      'a model of images',
      ['generate', '-m', fixture('golden/vision/top2-token-f32'), '--ids', '1'],
      ...([1, /must be a language model, got one of images \(V-MoE\)/] as const),
    ],
    [
      'an encoder-decoder',
      ['generate', '-m', fixture('golden/seq2seq/t5-gated-f32'), '--ids', '1'],
      ...([1, /must be a language model, got an encoder-decoder \(T5\)/] as const),
    ],
    ['spaces for a number', ['generate', '-t', ' '], 2, /--temperature must be a number, got ' '/],
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
    ['sampling that is wrong', ['generate', '--top-p', '2'], 2, /: --top-p must be .* got 2\n/],
    ['no new tokens', ['generate', '-n', '0'], 2, /: --max-new-tokens must be .* 1, got 0\n/],
    ['half a thread', ['generate', '--threads', '1.5'], 2, /: --threads must be a whole number/],
    ['a device that is none', ['info', '-d', 'tpu'], 2, /: --device must be .* got "tpu"/],
    ['too many logprobs', ['generate', '--logprobs', '21'], 2, /: --logprobs must be /],
    ['a stop id that is none', ['generate', '--stop-ids', '9999'], 2, /: --stop-ids must be /],
    ['no model', ['info', '-m', ''], 2, /: --model must be the path of a folder/],
    ['an op that is none', ['bench', 'x'], 2, /op must be one of/],
    ['a model that bench has not', ['bench', '--models', 'x'], 2, /: --models must be one of/],
    ['ids that are none', ['forward', '--ids', '1,x'], 2, /--ids must be token ids/],
    ['no ids', ['forward'], 2, /--ids must be given/],
    ['a prompt and ids', ['generate', '-p', 'x', '--ids', '1'], 2, /--prompt and --ids/],
    ['two texts', ['generate', 'To be', 'or not'], 2, /must be given once .* got TEXT and TEXT/],
    ['no prompt', ['generate', '-m', 'x'], 2, /a TEXT, --prompt, --prompt-file or --ids must/],
    [
      'no prompt file',
      ['generate', '--prompt-file', '/no/file'],
      2,
      /--prompt-file must be .*ENOENT/,
    ],
    ['convert without a target', ['convert', 'x'], 2, /needs DIR and OUT/],
    ['a folder that is missing', ['info', '-m', '/no/such/folder'], 1, /ERR_MOE_CHECKPOINT/],
    ['an id beyond the vocabulary', ['forward', '--ids', '99999'], 2, /: --ids must be a token id/],
    [
      'a GPU that is not there',
      ['generate', '-d', 'cuda'],
      1,
      /ERR_MOE_CUDA_UNAVAILABLE.*\n.*moe-native doctor/,
    ],
  ])('%s fails with a message', async (_, args, code, message) => {
    const ended = await cli(...args)
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(ended.stderr).toMatch(message)
  })

  it('a failure with --json is one object, too', async () => {
    const { code, value } = await json('info', '-m', '/no/such/folder')
    expect(code).toBe(1)
    expect(value.error).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/folder must exist/),
    })
  })

  it.each([[['generate', '-n', '0']], [['forward', '--ids', '99999']], [['nonsense']]])(
    'a wrong command line prints nothing on standard output, with --json either: %j',
    async (args) => {
      expect(await cli(...args, '--json')).toMatchObject({ code: 2, stdout: '' })
    },
  )

  it.each(['--version', '-v', '-V'])('%s', async (flag) => {
    const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
    expect(await cli(flag)).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it.each(['generate', 'forward', 'info', 'convert', 'bench'])(
    'help %s is its --help',
    async (name) => {
      const help = await cli('help', name)
      expect(help).toEqual(await cli(name, '--help'))
      expect(help.stdout).toMatch(new RegExp(`moe-native ${name}`))
    },
  )

  it('help alone is --help', async () => {
    expect(await cli('help')).toEqual(await cli('--help'))
  })
})
