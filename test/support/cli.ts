import { spawn } from 'node:child_process'
import { root } from './golden.ts'

export interface CliEnded {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the command of this build, with nothing on its standard input. */
export const cli = (...args: string[]): Promise<CliEnded> => cliIn({}, ...args)

/** Likewise, with more of an environment. */
export function cliIn(env: NodeJS.ProcessEnv, ...args: string[]): Promise<CliEnded> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`${root}/dist/cli/main.js`, ...args], {
      env: { ...process.env, ...env },
    })
    const out = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text) => (out[name] += text))
    child.stdin.end()
    child.once('error', reject).once('close', (code) => resolve({ code, ...out }))
  })
}
