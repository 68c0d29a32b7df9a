#!/usr/bin/env node
import * as bench from './bench.ts'
import * as convert from './convert.ts'
import * as forward from './forward.ts'
import * as generate from './generate.ts'
import * as info from './info.ts'
import { describe, printJson, UsageError } from './options.ts'

const commands = { generate, forward, info, convert, bench }

const help = `moe-native: Mixture-of-Experts language models from TypeScript

  moe-native generate [--model DIR] --prompt TEXT   continue a text
  moe-native forward  [--model DIR] --ids 1,2,3     logits of token ids
  moe-native info     [--model DIR]                 what a checkpoint is and needs
  moe-native convert  DIR OUT                       PyTorch files to safetensors
  moe-native bench    [op…]                         kernels at the sizes of real models

Without --model the bundled demo checkpoint runs. Every command has --help and --json.`

async function main([name, ...args]: string[]): Promise<void> {
  if (name === undefined || name === '--help' || name === '-h')
    return void process.stdout.write(`${help}\n`)
  if (!Object.hasOwn(commands, name))
    throw new UsageError(`unknown command '${name}'; there are ${Object.keys(commands).join(', ')}`)
  const interrupt = new AbortController()
  process.once('SIGINT', () => interrupt.abort(new Error('interrupted')))
  await commands[name as keyof typeof commands].run(args, interrupt.signal)
}

const argv = process.argv.slice(2)
main(argv).catch((error: unknown) => {
  const code = (error as { code?: string }).code
  if (argv.includes('--json'))
    printJson({ error: { code, message: error instanceof Error ? error.message : String(error) } })
  process.stderr.write(`moe-native: ${describe(error)}\n`)
  if (error instanceof UsageError) process.stderr.write('moe-native: see moe-native --help\n')
  process.exitCode = error instanceof UsageError ? 2 : 1
})
