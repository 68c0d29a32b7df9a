import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import { readVisionConfig } from '../../lib/vision/config.ts'
import { root } from '../support/golden.ts'
import { type Installed, installPackage, userNode } from '../support/installed.ts'
import { problems } from '../support/type_check.ts'

interface Block {
  name: string
  language: string
  flags: string
  code: string
}

/** What a block that is not run needs: ```` ```sh no-run: a clone ````. */
const reasons = ['a checkpoint', 'a clone', 'a terminal', 'another package', 'the network']

/** Code blocks of a page. Blocks without a language are formulas and what programs print. */
function blocks(file: string): Block[] {
  const text = readFileSync(file, 'utf8')
  return Array.from(
    text.matchAll(/^```(\w*)(.*)\n([\s\S]*?)^```$/gm),
    ([, language, flags, code], i) => ({
      name: `${path.basename(file, '.md')}-${i}`,
      language: language!,
      flags: flags!.replace(/\[\w+\]/, '').trim(), // the name of a tab
      code: code!,
    }),
  )
}

const pages = readdirSync(`${root}/docs`)
  .filter((file) => file.endsWith('.md'))
  .map((file) => `${root}/docs/${file}`)
const all = [`${root}/README.md`, ...pages].flatMap(blocks)
const of = (language: string): Block[] =>
  all.filter((block) => block.language === language && block.flags === '')

/** Node from 22.18 on runs TypeScript by leaving out its types. */
const features = spawnSync(userNode, ['-p', 'process.features.typescript'], { encoding: 'utf8' })
const endings = features.stdout.trim() === 'strip' ? ['mjs', 'mts'] : ['mjs']
const programs = of('js').flatMap(({ name, code }) =>
  endings.map((ending) => ({ file: `${name}.${ending}`, code })),
)

// As they are, in an empty project with the package installed.
describe('code blocks of README and documentation', () => {
  let installed: Installed
  beforeAll(() => {
    installed = installPackage('built')
  })

  it('are JavaScript, TypeScript, commands or configurations, and run or say why not', () => {
    const languages = new Set(all.map(({ language }) => language))
    expect([...languages].sort()).toEqual(['', 'js', 'json', 'sh', 'ts'])
    const marked = all.filter(({ flags }) => flags !== '')
    expect(marked.filter(({ flags }) => !reasons.includes(flags.replace('no-run: ', '')))).toEqual(
      [],
    )
    expect(of('js').length).toBeGreaterThan(9)
    expect(of('sh').length).toBeGreaterThan(4)
    for (const { code } of of('json')) readVisionConfig(JSON.parse(code))
  })

  it('are valid TypeScript; those that are not run, JavaScript with its types in comments', () => {
    const own = all.filter(({ flags }) => flags !== 'no-run: another package')
    const typed = own.filter(({ language }) => ['js', 'ts'].includes(language))
    const files = new Map(
      typed.map(({ name, language, flags, code }) => {
        const extension = language === 'js' && flags !== '' ? 'mjs' : 'mts'
        return [`${root}/build/snippets/${name}.${extension}`, code]
      }),
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
    expect(
      problems(ts.createProgram([...files.keys()], { ...options, checkJs: true }, host)),
    ).toEqual([])
  })

  it.each(programs)('$file runs', async ({ file, code }) => {
    const { status, stderr } = await installed.run(file, code)
    expect(stderr.replace(/^.*ExperimentalWarning: Type Stripping.*\n.*\n/, '')).toBe('')
    expect(status).toBe(0)
  })

  it.each(of('sh'))('$name runs', ({ code }) => {
    const commands = code
      .split('\n')
      .map((line) => line.replace(/\s+#.*$/, '').trim())
      .filter((line) => line !== '' && line !== 'npm install moe-native')
    for (const command of commands) {
      expect(command).toMatch(/^npx moe-native /)
      const env = { ...process.env, PATH: `${installed.bin}:${process.env.PATH}` }
      const { status, stdout } = spawnSync('sh', ['-c', command], { cwd: installed.app, env })
      expect([command, status]).toEqual([command, 0])
      expect(stdout.length).toBeGreaterThan(0)
    }
  })
})
