import { type SpawnOptions, spawn } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from './files.ts'
import { root } from './golden.ts'

/** How a process ended. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface ChildOptions extends SpawnOptions {
  nodeArgs?: string[]
  /** Runs the command line `node script` below this one, such as `ulimit -n 32; exec "$@"`. */
  below?: string
  /** Gets what the script prints, as it comes. */
  onOutput?: (child: ReturnType<typeof spawn>, text: string) => void
}

/** What a script starts with. `show` prints an outcome: a value, or an error's class and code. */
const prelude = `
import fs from 'node:fs'
import path from 'node:path'
import * as moe from ${JSON.stringify(`${root}/dist/index.js`)}
const { loadModel, MoeError } = moe
const show = (name, promise) => Promise.resolve(promise).then(
  (value) => console.log(name, typeof value === 'string' ? value : 'ok'),
  (e) => console.log(name, e instanceof MoeError ? e.code : e?.name ?? e),
)
`

/** Runs a module in a process of its own; one that takes longer than 150 s is killed, which shows as its signal. */
export function runScript(source: string, options: ChildOptions = {}): Promise<Ended> {
  const { nodeArgs = [], below, onOutput, ...spawnOptions } = options
  const file = path.join(temporaryFolder(), 'script.mjs')
  chmodSync(path.dirname(file), 0o755) // for other users
  writeFileSync(file, prelude + source)
  const command = [process.execPath, ...nodeArgs, file]
  // Shells call setjmp, which GCC's thread sanitizer, loaded in front of a program that is not built for it, answers with
  // a jump to address 0: a runtime (vitest.config.ts) is for Node alone.
  const { LD_PRELOAD: runtime, ...env } = process.env
  if (below && runtime) command.unshift('env', `LD_PRELOAD=${runtime}`)
  const [program, ...args] = below ? ['bash', '--norc', '-c', below, 'bash', ...command] : command
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, {
      timeout: 150_000,
      killSignal: 'SIGKILL',
      ...(below && { env }),
      ...spawnOptions,
    })
    const ended: Ended = { code: null, signal: null, stdout: '', stderr: '' }
    child.stdout?.on('data', (data) => {
      ended.stdout += data
      onOutput?.(child, String(data))
    })
    child.stderr?.on('data', (data) => {
      ended.stderr += data
    })
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ ...ended, code, signal }))
  })
}
