import { type ParseArgsConfig, parseArgs } from 'node:util'
import { demoModel } from '../demo.ts'
import { MoeError } from '../errors.ts'
import type { LoadModelOptions } from '../load.ts'

export type Options = NonNullable<ParseArgsConfig['options']>
export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>

/** What went wrong on the command line; shown without a code. */
export class UsageError extends Error {}

export const modelOptions: Options = {
  model: { type: 'string', short: 'm' },
  device: { type: 'string', short: 'd' },
  dtype: { type: 'string' },
  threads: { type: 'string' },
  'max-tokens': { type: 'string' },
  'rope-theta': { type: 'string' },
  'rope-table': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
}

export const modelHelp = `Model
  -m, --model DIR      checkpoint folder (default: the bundled MoE++ demo)
  -d, --device NAME    auto | cpu | cuda | cuda:N | cuda-sim (default: auto)
      --dtype TYPE     activations: auto | f32 | bf16
      --threads N      CPU threads (default: all that are allowed)
      --max-tokens N   tokens that the cache holds
      --rope-theta X   rotary base instead of the configuration's
      --rope-table T   Yuan: published | bf16-frequencies | exact

  --json prints one JSON object on standard output and nothing else there.`

export function parse(
  args: string[],
  options: Options,
  positionals = false,
): { values: Values; rest: string[] } {
  try {
    const parsed = parseArgs({ args, options, allowPositionals: positionals, strict: true })
    return { values: parsed.values as Values, rest: parsed.positionals }
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

export function number(values: Values, name: string): number | undefined {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (text === '' || Number.isNaN(value))
    throw new UsageError(`--${name} must be a number, got '${text}'`)
  return value
}

/** `1,2,3` as ids. */
export function idList(name: string, text: string): number[] {
  return text.split(',').map((part) => {
    const id = Number(part)
    if (part.trim() === '' || !Number.isInteger(id))
      throw new UsageError(`--${name} must be token ids separated by commas, got '${text}'`)
    return id
  })
}

export const modelDir = (values: Values): string =>
  (values.model as string | undefined) ?? demoModel

export function loadOptions(values: Values): LoadModelOptions {
  return {
    device: values.device as LoadModelOptions['device'],
    dtype: values.dtype as LoadModelOptions['dtype'],
    threads: number(values, 'threads'),
    maxTokens: number(values, 'max-tokens'),
    ropeTheta: number(values, 'rope-theta'),
    ropeTable: values['rope-table'] as LoadModelOptions['ropeTable'],
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
