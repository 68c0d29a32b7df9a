import { type ParseArgsConfig, parseArgs } from 'node:util'
import { demoModel } from '../demo.ts'
import { MoeError } from '../errors.ts'
import type { LoadModelOptions } from '../load_options.ts'
import { nearest } from '../option_names.ts'
import { type WeightsOption, weightsNames } from '../weights/formats.ts'

export type Options = NonNullable<ParseArgsConfig['options']>
export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>

/** What went wrong on the command line; shown without a code. */
export class UsageError extends Error {}

export const modelOptions: Options = {
  model: { type: 'string', short: 'm' },
  device: { type: 'string', short: 'd' },
  dtype: { type: 'string' },
  weights: { type: 'string' },
  group: { type: 'string' },
  threads: { type: 'string' },
  'max-tokens': { type: 'string' },
  'gpu-memory': { type: 'string' },
  'rope-theta': { type: 'string' },
  'rope-table': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
}

export const modelHelp = `Model
  -m, --model DIR      checkpoint folder, or ORG/NAME of the hub (default: the
                       bundled MoE++ demo)
  -d, --device NAME    auto | cpu | cuda | cuda:N | cuda-sim (default: auto)
      --dtype TYPE     activations: auto | f32 | bf16
      --weights TYPE   of matrices: auto | f32 | bf16 | int8 | int4 | fp8
      --group N        of int4: inputs that share a scale, 32 (default) or 128
      --threads N      CPU threads (default: all that are allowed)
      --max-tokens N   tokens that the cache holds
      --gpu-memory N   bytes of a GPU to use, such as 20e9; experts
                       beyond them stay in host memory
      --rope-theta X   rotary base instead of the configuration's
      --rope-table T   Yuan: published | bf16-frequencies | exact

  --json prints one JSON object on standard output and nothing else there.`

/** `--x -1` as `--x=-1`: a number below zero is no flag. */
function withNegatives(args: string[], options: Options): string[] {
  const out: string[] = []
  const end = args.indexOf('--')
  for (const [i, arg] of args.entries()) {
    if (end >= 0 && i > end) {
      out.push(arg)
      continue
    }
    const name = /^--([\w-]+)$/.exec(out.at(-1) ?? '')?.[1]
    const takes = name !== undefined && options[name]?.type === 'string'
    if (takes && /^-[\d.]/.test(arg)) out.push(`${out.pop()}=${arg}`)
    else out.push(arg)
  }
  return out
}

export function parse(
  args: string[],
  options: Options,
  positionals = false,
): { values: Values; rest: string[] } {
  try {
    const parsed = parseArgs({
      args: withNegatives(args, options),
      options,
      allowPositionals: positionals,
      strict: true,
    })
    return { values: parsed.values as Values, rest: parsed.positionals }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL') {
      const [, word] = /'(.*?)'/.exec(message)!
      const hint = options.model ? `; did you mean --model ${word}?` : ''
      throw new UsageError(`'${word}' is not expected${hint}`)
    }
    const flag = /'(?:-\w, )?(-[\w-]*)/.exec(message)?.[1]
    if (!flag) throw new UsageError(message)
    if (code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE')
      throw new UsageError(
        message.includes('does not take')
          ? `${flag} takes no value`
          : `${flag} needs a value; one that begins with a dash is written as --name=-value`,
      )
    const near = nearest(flag, Object.keys(options))
    throw new UsageError(`unknown option '${flag}'${near ? `; did you mean --${near}?` : ''}`)
  }
}

/** Options of the library that come from a flag of another name, or from no flag. */
const otherFlags: Readonly<Record<string, string>> = {
  dir: '--model',
  model: '--models',
  routing: '--routings',
  op: 'op',
}
const flags = new Set([
  ...[
    '--device',
    '--dtype',
    '--weights',
    '--group',
    '--threads',
    '--max-tokens',
    '--gpu-memory',
    '--rope-theta',
    '--rope-table',
  ],
  ...['--prompt', '--ids', '--max-new-tokens', '--stop', '--stop-ids', '--temperature', '--top-k'],
  ...['--top-p', '--min-p', '--repetition-penalty', '--presence-penalty', '--frequency-penalty'],
  ...['--host', '--port', '--name', '--api-key', '--max-waiting', '--drain-seconds'],
  ...[
    '--window',
    '--against',
    '--text',
    '--seed',
    '--logprobs',
    '--adapter',
    ...Object.values(otherFlags),
  ],
])

/** What the library refuses of a command line, in the words of the command line; anything else as it is. */
export function asUsage(error: unknown): unknown {
  if (!(error instanceof MoeError) || error.code !== 'ERR_MOE_OPTION') return error
  const [, name, rest] = /^\w+: (\w+)(?:\[\d+\])? (must .*)$/s.exec(error.message) ?? []
  if (name === undefined) return error
  const kebab = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  const flag = otherFlags[name] ?? `--${kebab}`
  const said = rest!.replace(/\bapiKey\b/, '--api-key').replace(/\binsecure\b/, '--insecure')
  return flags.has(flag) ? new UsageError(`${flag} ${said}`) : error
}

export function number(
  values: Values,
  name: string,
  least = Number.NEGATIVE_INFINITY,
): number | undefined {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  const range = Number.isFinite(least) ? ` of at least ${least}` : ''
  if (String(text).trim() === '' || !(value >= least))
    throw new UsageError(`--${name} must be a number${range}, got '${text}'`)
  return value
}

/** An option that is one of some words. */
export function choice<T extends string>(
  values: Values,
  name: string,
  known: readonly T[],
): T | undefined {
  const text = values[name] as T | undefined
  if (text === undefined || known.includes(text)) return text
  throw new UsageError(`--${name} must be ${known.join(' | ')}, got '${text}'`)
}

function wholeNumbers(name: string, text: string, what: string, least: number): number[] {
  return text.split(',').map((part) => {
    const value = Number(part)
    if (part.trim() === '' || !Number.isInteger(value) || value < least)
      throw new UsageError(`--${name} must be ${what} separated by commas, got '${text}'`)
    return value
  })
}

/** `1,2,3` as ids. */
export const idList = (name: string, text: string): number[] =>
  wholeNumbers(name, text, 'token ids', Number.NEGATIVE_INFINITY)

/** `1,8,512` as numbers of something. */
export const counts = (name: string, text: string): number[] =>
  wholeNumbers(name, text, 'whole numbers of at least 1', 1)

export const adapterOption: Options = { adapter: { type: 'string', multiple: true } }

/** `--adapter [NAME=]DIR`, each as it was given. */
export const adapterDirs = (values: Values): { name: string | undefined; dir: string }[] =>
  ((values.adapter ?? []) as string[]).map((text) => {
    const [, name, dir] = /^([^=/\\]+)=(.+)$/.exec(text) ?? []
    return { name, dir: dir ?? text }
  })

/** The one of a command that takes one. */
export function adapterDir(values: Values): { name: string | undefined; dir: string } | undefined {
  const [first, ...others] = adapterDirs(values)
  if (others.length > 0) throw new UsageError('--adapter must be given once')
  return first
}

export const modelDir = (values: Values): string =>
  (values.model as string | undefined) ?? demoModel

function weightsOption(values: Values): WeightsOption | undefined {
  const format = choice(values, 'weights', weightsNames)
  const group = choice(values, 'group', ['32', '128'])
  if (group === undefined) return format
  if (format !== 'int4') throw new UsageError('--group must be given with --weights int4')
  return { format, group: group === '128' ? 128 : 32 }
}

export function loadOptions(values: Values): LoadModelOptions {
  return {
    device: values.device as LoadModelOptions['device'],
    dtype: choice(values, 'dtype', ['auto', 'f32', 'bf16']),
    weights: weightsOption(values),
    threads: number(values, 'threads', 1),
    maxTokens: number(values, 'max-tokens', 1),
    gpuMemory: number(values, 'gpu-memory', 1),
    ropeTheta: number(values, 'rope-theta', 1),
    ropeTable: choice(values, 'rope-table', ['published', 'bf16-frequencies', 'exact']),
  }
}

/** Numbers of typed arrays as plain arrays, for JSON. */
export function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, plain(v)]))
  return value
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(plain(value))}\n`)
}

/** What a failed command says. */
export function describe(error: unknown): string {
  if (error instanceof MoeError) return `${error.code} ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
