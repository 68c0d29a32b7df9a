#!/usr/bin/env node
import { fstatSync, writeSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { checkNode } from '../node_version.ts'
import { nearest } from '../option_names.ts'
import { readVersion } from '../version.ts'
import { asUsage, describe, printJson, UsageError } from './options.ts'

// Each is loaded when it is asked for: all of them take some 20 ms, and the first token 150.
const commands = {
  generate: () => import('./generate.ts'),
  chat: () => import('./chat.ts'),
  serve: () => import('./serve.ts'),
  batch: () => import('./batch.ts'),
  forward: () => import('./forward.ts'),
  routing: () => import('./routing.ts'),
  info: () => import('./info.ts'),
  doctor: () => import('./doctor.ts'),
  pull: () => import('./pull.ts'),
  convert: () => import('./convert.ts'),
  quantize: () => import('./quantize.ts'),
  eval: () => import('./eval.ts'),
  bench: () => import('./bench.ts'),
}

const help = `moe-native: Mixture-of-Experts language models from TypeScript

  moe-native generate [--model DIR] TEXT          continue a text
  moe-native chat     [--model DIR]               a conversation in the terminal
  moe-native serve    [--model DIR]               answer by OpenAI's protocol
  moe-native batch    IN.jsonl OUT.jsonl          answer a file of requests
  moe-native forward  [--model DIR] --ids 1,2,3   logits of token ids
  moe-native routing  [--model DIR] --text FILE   where a text's tokens go
  moe-native info     [--model DIR]               what a checkpoint is and needs
  moe-native doctor                               what this machine has
  moe-native pull     ORG/NAME                    a model of the hub
  moe-native convert  DIR OUT                     PyTorch files to safetensors
  moe-native quantize DIR OUT --format int4       a smaller checkpoint
  moe-native eval     [--model DIR] --text FILE   loss, beside another model
  moe-native bench    [op…]                       kernels at real sizes
  moe-native help     COMMAND                     what a command takes
  moe-native --version

Without --model the bundled demo runs. DIR may be ORG/NAME of the hub.
Every command has --help, and all but chat have --json.`

/** What other programs call these. */
const otherNames: Readonly<Record<string, keyof typeof commands>> = {
  ...{ run: 'chat', complete: 'generate', completion: 'generate', show: 'info', inspect: 'info' },
  ...{ download: 'pull', get: 'pull', start: 'serve', perplexity: 'eval', benchmark: 'bench' },
}

function commandOf(name: string): keyof typeof commands {
  if (Object.hasOwn(commands, name)) return name as keyof typeof commands
  const known = Object.keys(commands)
  const near = Object.hasOwn(otherNames, name) ? otherNames[name] : nearest(name, known)
  const hint = near ? `did you mean ${near}?` : `there are ${known.join(', ')}`
  throw new UsageError(`unknown command '${name}'; ${hint}`)
}

const interrupt = new AbortController()

/** What ends a command, and its exit code then, as the shell says of a command that the signal itself ended. */
const endings = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

let endedBy: string | undefined

function endOnSignals(): void {
  for (const [name, code] of Object.entries(endings))
    process.once(name, () => {
      process.exitCode = code
      interrupt.abort(new Error(code === endings.SIGINT ? 'interrupted' : `ended by ${name}`))
      endedBy = name
    })
}

/** A pipe that nobody writes to is waited for in its `open`, which nothing but a signal's own action ends. */
function endWaiting(): void {
  if (endedBy) setTimeout(() => process.kill(process.pid, endedBy), 100).unref()
}

async function main([name, ...args]: string[]): Promise<void> {
  const say = (text: string) => void process.stdout.write(`${text}\n`)
  if (name === '--version' || name === '-v' || name === '-V') return say(readVersion())
  const asksHelp = name === 'help'
  if (name === undefined || name === '--help' || name === '-h') return say(help)
  if (asksHelp && args[0] === undefined) return say(help)
  checkNode() // before modules that an old one cannot read
  const { run } = await commands[commandOf(asksHelp ? args[0]! : name)]()
  endOnSignals()
  await run(asksHelp ? ['--help'] : args, interrupt.signal)
}

/** Into a file on a full disk Node writes what fits, and says nothing of the rest. */
function writeAllOrFail(stream: NodeJS.WriteStream & { _write: Writable['_write'] }): void {
  stream._write = (chunk: Buffer, _encoding, done) => {
    try {
      for (let at = 0; at < chunk.length; ) at += writeSync(1, chunk, at)
      done()
    } catch (error) {
      done(error as Error)
    }
  }
}
try {
  if (fstatSync(1).isFile()) writeAllOrFail(process.stdout)
} catch {} // standard output is closed

// Whoever reads may leave early, as `head` does.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => {
  if (code === 'EPIPE') process.exit(0)
  process.stderr.write(`moe-native: standard output must be writable, got ${code}\n`)
  process.exit(1)
})
process.stderr.on('error', () => {})

const argv = process.argv.slice(2)
try {
  await main(argv)
} catch (thrown) {
  const error = asUsage(thrown)
  const isUsage = error instanceof UsageError
  const code = (error as { code?: string }).code
  if (argv.includes('--json') && !isUsage && !interrupt.signal.aborted)
    printJson({ error: { code, message: error instanceof Error ? error.message : String(error) } })
  process.stderr.write(`moe-native: ${describe(error)}\n`)
  if (isUsage) {
    const [name = ''] = argv
    const command = Object.hasOwn(commands, name) ? `help ${name}` : '--help'
    process.stderr.write(`moe-native: see moe-native ${command}\n`)
  } else if (code === 'ERR_MOE_CUDA_UNAVAILABLE' || code === 'ERR_MOE_NATIVE_LOAD')
    process.stderr.write('moe-native: moe-native doctor says what this machine has\n')
  if (!interrupt.signal.aborted) process.exitCode = isUsage ? 2 : 1
}
endWaiting()
