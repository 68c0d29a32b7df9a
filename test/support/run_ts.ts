import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { root } from './golden.ts'

/**
 * Runs a TypeScript module as a user of the package would: inside this package, so that `moe-native` means
 * `dist`. Types are stripped here, since Node 20 does not do it.
 */
export function runTypeScript(
  name: string,
  source: string,
  { args = [] as string[], input = '', until = undefined as RegExp | undefined } = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const folder = path.join(root, 'build', 'snippets')
  mkdirSync(folder, { recursive: true })
  const file = path.join(folder, `${name}.mjs`)
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  })
  writeFileSync(file, outputText)
  const child = spawn(process.execPath, [file, ...args], { cwd: root })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk
    if (until?.test(stdout)) child.kill('SIGTERM')
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk
  })
  child.stdin.end(input)
  return new Promise((resolve) => {
    child.once('close', (status) => resolve({ status, stdout, stderr }))
  })
}
