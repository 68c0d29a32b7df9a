import { fstatSync } from 'node:fs'
import { resolveMaxNewTokens, resolveSampling } from '../engine/sampling.ts'
import type { GenerateOptions, GenerateResult, TokenIds, Tokenizer } from '../index.ts'
import { deviceText } from './device.ts'
import { loadWithBar } from './load.ts'
import {
  adapterDir,
  adapterOption,
  idList,
  loadOptions,
  modelDir,
  modelHelp,
  modelOptions,
  number,
  type Options,
  parse,
  printJson,
  UsageError,
  type Values,
} from './options.ts'
import { routingLines } from './routing_lines.ts'
import { readTextFile } from './text_file.ts'

export const help = `moe-native generate: continue a text

  moe-native generate 'ROMEO:'
  moe-native generate 'ROMEO:' --temperature 0.8 --top-p 0.9 --seed 1
  cat letter.txt | moe-native generate --quiet
  moe-native generate --model DIR --ids 1,2,3 --max-new-tokens 20 --json

Prompt: one of these (default: what is piped in, else 'ROMEO:' for the demo)
  TEXT, -p, --prompt TEXT     text to continue; - reads it from standard input
      --prompt-file FILE      a file with the text
      --ids 1,2,3             token ids
Length
  -n, --max-new-tokens N      most new tokens (default: 256)
      --stop TEXT             end before this text; may be repeated
      --stop-ids 1,2          ids that end the text (default: the model's)
      --ignore-eos            do not end at the model's end-of-text ids
Sampling (default: greedy)
  -t, --temperature X         0 takes the best token
      --top-k N, --top-p X, --min-p X
      --repetition-penalty X, --presence-penalty X, --frequency-penalty X
      --seed N                equal seeds give equal texts
      --no-generation-defaults
                              not what the model's generation_config.json says
Adapter
      --adapter DIR           a LoRA adapter for the text
Output
      --logprobs N            also the N best tokens at each place
      --routing               also how often new tokens chose each expert; with
                              --json, the experts of every token
      --no-display-prompt     only what is written behind the prompt
  -q, --quiet                 no progress and no speed on standard error
${modelHelp}`

const options: Options = {
  ...modelOptions,
  ...adapterOption,
  prompt: { type: 'string', short: 'p' },
  'prompt-file': { type: 'string' },
  ids: { type: 'string' },
  'max-new-tokens': { type: 'string', short: 'n' },
  stop: { type: 'string', multiple: true },
  'stop-ids': { type: 'string' },
  'ignore-eos': { type: 'boolean' },
  temperature: { type: 'string', short: 't' },
  'top-k': { type: 'string' },
  'top-p': { type: 'string' },
  'min-p': { type: 'string' },
  'repetition-penalty': { type: 'string' },
  'presence-penalty': { type: 'string' },
  'frequency-penalty': { type: 'string' },
  seed: { type: 'string' },
  'no-generation-defaults': { type: 'boolean' },
  logprobs: { type: 'string' },
  routing: { type: 'boolean' },
  'no-display-prompt': { type: 'boolean' },
  quiet: { type: 'boolean', short: 'q' },
}

/** Whether a shell pipes something in. Not what a program that starts this one has as a pipe: it may never end it. */
function isPiped(): boolean {
  const input = fstatSync(0)
  return input.isFIFO() || input.isFile()
}

async function promptOf(
  values: Values,
  rest: string[],
  signal: AbortSignal,
): Promise<string | TokenIds> {
  const given: [name: string, value: string][] = [
    ...rest.map((text): [string, string] => ['TEXT', text]),
    ...['prompt', 'prompt-file', 'ids'].flatMap((name): [string, string][] =>
      values[name] === undefined ? [] : [[name, values[name] as string]],
    ),
  ]
  const names = given.map(([name]) => (name === 'TEXT' ? name : `--${name}`))
  if (given.length > 1)
    throw new UsageError(
      `the prompt must be given once (quote a TEXT with spaces), got ${names.join(' and ')}`,
    )
  const [[name, value] = []] = given
  const piped = value === undefined && isPiped() ? await readTextFile('--prompt', '-', signal) : ''
  if (piped !== '') return piped
  if (value === undefined && values.model !== undefined)
    throw new UsageError('a TEXT, --prompt, --prompt-file or --ids must be given, or piped in')
  if (value === undefined) return 'ROMEO:'
  if (name === 'ids') return idList('ids', value)
  if (name !== 'prompt-file' && value !== '-') return value
  return readTextFile('--prompt-file', value, signal)
}

function generateOptions(values: Values): GenerateOptions {
  const stopIds = values['stop-ids'] as string | undefined
  return {
    maxNewTokens: number(values, 'max-new-tokens'),
    stop: values.stop as string[] | undefined,
    stopIds: values['ignore-eos']
      ? []
      : stopIds === undefined
        ? undefined
        : idList('stop-ids', stopIds),
    temperature: number(values, 'temperature'),
    topK: number(values, 'top-k'),
    topP: number(values, 'top-p'),
    minP: number(values, 'min-p'),
    repetitionPenalty: number(values, 'repetition-penalty'),
    presencePenalty: number(values, 'presence-penalty'),
    frequencyPenalty: number(values, 'frequency-penalty'),
    seed: number(values, 'seed'),
    logprobs: number(values, 'logprobs'),
    routing: values.routing === true,
  }
}

/** Each token with its probability, and what could have stood there. */
function logprobLines(
  logprobs: NonNullable<GenerateResult['logprobs']>,
  tokenizer: Tokenizer | undefined,
): string {
  const stream = tokenizer?.stream() // so that spaces in front of words are seen
  const text = (id: number) =>
    tokenizer ? JSON.stringify(tokenizer.decode([id], { special: true })) : String(id)
  const share = (logprob: number) => Math.exp(logprob).toFixed(3)
  const lines = logprobs.map(({ id, logprob, top }) => {
    const others = top
      .filter((one) => one.id !== id)
      .map((one) => `${text(one.id)} ${share(one.logprob)}`)
    const own = stream ? JSON.stringify(stream.push(id)) : String(id)
    return `${own.padEnd(16)} ${share(logprob)}  ${others.join('  ')}`.trimEnd()
  })
  return `${lines.join('\n')}\n`
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(args, options, true)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const prompt = await promptOf(values, rest, signal)
  const asked = generateOptions(values)
  resolveSampling(asked, {}, Number.MAX_SAFE_INTEGER) // what can be wrong without a model is wrong before one is loaded
  resolveMaxNewTokens(asked.maxNewTokens, {})
  const json = values.json === true
  const quiet = values.quiet === true
  const given = adapterDir(values)
  const generationDefaults = values['no-generation-defaults'] !== true
  const loading = { ...loadOptions(values), generationDefaults, signal }
  await using model = await loadWithBar(modelDir(values), loading, json || quiet)
  const adapter = given && (await model.loadAdapter(given.dir, { signal })).name
  if (json) return printJson(await model.generate(prompt, { ...asked, adapter, signal }))
  const generation = model.generate(prompt, {
    ...{ ...asked, adapter, routing: asked.routing ? 'new' : false, signal },
  })

  let lead = typeof prompt === 'string' && values['no-display-prompt'] !== true ? prompt : ''
  for await (const { text, id } of generation) {
    process.stdout.write(lead + (model.tokenizer ? text : `${id} `))
    lead = ''
  }
  const { usage, timings, logprobs, routing } = await generation
  process.stdout.write(`${lead}\n`)
  if (logprobs) process.stdout.write(`\n${logprobLines(logprobs, model.tokenizer)}`)
  if (routing) process.stdout.write(`\n${routingLines(routing, model.config.topK)}`)
  if (quiet) return
  process.stderr.write(
    `${usage.promptTokens} prompt tokens at ${timings.promptTokensPerSecond.toFixed(0)}/s, ` +
      `${usage.completionTokens} new tokens at ${timings.tokensPerSecond.toFixed(0)}/s ` +
      `on ${deviceText(model.device, model.dtype)}\n`,
  )
}
