import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'
import { runTypeScript } from '../support/run_ts.ts'

interface Block {
  name: string
  language: string
  code: string
}

/** Code blocks of a page; ```` ```sh no-run ```` is left out, for commands that need what is not here. */
function blocks(file: string): Block[] {
  const text = readFileSync(file, 'utf8')
  return Array.from(
    text.matchAll(/^```(\w+)(.*)\n([\s\S]*?)^```/gm),
    ([, language, flags, code], i) => ({
      name: `${path.basename(file, '.md')}-${i}`,
      language: flags!.includes('no-run') ? 'none' : language!,
      code: code!,
    }),
  )
}

const pages = readdirSync(`${root}/docs`)
  .filter((file) => file.endsWith('.md'))
  .map((file) => `${root}/docs/${file}`)
const all = pages.flatMap(blocks)
const of = (language: string): Block[] => all.filter((block) => block.language === language)

describe('code blocks of the documentation', () => {
  it('type-check', () => {
    const files = new Map(
      of('ts').map(({ name, code }) => [`${root}/build/snippets/${name}.ts`, code]),
    )
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(`${root}/tsconfig.json`, ts.sys.readFile).config,
      ts.sys,
      root,
    )
    const host = ts.createCompilerHost(options)
    const read = host.readFile.bind(host)
    const exists = host.fileExists.bind(host)
    host.readFile = (file) => files.get(file) ?? read(file)
    host.fileExists = (file) => files.has(file) || exists(file)
    const getSourceFile = host.getSourceFile.bind(host)
    host.getSourceFile = (file, language) =>
      files.has(file)
        ? ts.createSourceFile(file, files.get(file)!, language)
        : getSourceFile(file, language)
    const program = ts.createProgram([...files.keys()], options, host)
    const problems = ts
      .getPreEmitDiagnostics(program)
      .map((d) => `${d.file?.fileName}: ${ts.flattenDiagnosticMessageText(d.messageText, ' ')}`)
    expect(files.size).toBeGreaterThan(8)
    expect(problems).toEqual([])
  })

  it.each(of('ts'))('$name runs', async ({ name, code }) => {
    const { status, stderr } = await runTypeScript(name, code)
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })

  it.each(of('sh'))('$name runs', ({ code }) => {
    const commands = code
      .split('\n')
      .map((line) => line.replace(/\s+#.*$/, '').trim())
      .filter((line) => line !== '' && line !== 'npm install moe-native')
    for (const command of commands) {
      expect(command).toMatch(/^npx moe-native /)
      const ours = command.replace(/^npx moe-native/, `'${process.execPath}' dist/cli/main.js`)
      expect(execFileSync('sh', ['-c', ours], { cwd: root, encoding: 'utf8' })).not.toBe('')
    }
  })
})
