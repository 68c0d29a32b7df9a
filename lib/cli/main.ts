#!/usr/bin/env node
import { describe, printJson, UsageError } from './options.ts'

// Each is loaded when it is asked for: all of them take some 20 ms, and the first token 150.
const commands = {
  generate: () => import('./generate.ts'),
  forward: () => import('./forward.ts'),
  info: () => import('./info.ts'),
  convert: () => import('./convert.ts'),
  bench: () => import('./bench.ts'),
}

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
  const { run } = await commands[name as keyof typeof commands]()
  await run(args, interrupt.signal)
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
