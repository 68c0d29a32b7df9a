import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { root } from './golden.ts'

/**
 * Writes a TypeScript module where `moe-native` means `dist`: inside this package. Types are stripped here, since
 * Node 20 does not do it. Returns the file.
 */
export function writeModule(name: string, source: string): string {
  const folder = path.join(root, 'build', 'snippets')
  mkdirSync(folder, { recursive: true })
  const file = path.join(folder, `${name}.mjs`)
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  })
  writeFileSync(file, outputText)
  return file
}

/** Runs a TypeScript module as a user of the package would. */
export function runTypeScript(
  name: string,
  source: string,
  { args = [] as string[], input = '' } = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [writeModule(name, source), ...args], { cwd: root })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk
  })
  child.stdin.end(input)
  return new Promise((resolve) => {
    child.once('close', (status) => resolve({ status, stdout, stderr }))
  })
}
