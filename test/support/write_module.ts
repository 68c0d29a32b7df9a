import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { root } from './golden.ts'

/**
 * Writes a test's TypeScript module where `moe-native` means `dist`: inside this package. Types are stripped here,
 * since Node 20 does not do it. Returns the file.
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
