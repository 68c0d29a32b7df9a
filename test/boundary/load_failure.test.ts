import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { loadAdvice } from '../../lib/load_failure.ts'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'

const inPackage = { musl: false, inPackage: true }

it.each<[string, string, { musl: boolean; inPackage: boolean; platform?: string }, RegExp]>([
  ['in a bundle', 'no native build', { musl: false, inPackage: false }, /bundle.*--external:moe/],
  ['on musl', 'no native build', { musl: true, inPackage: true }, /musl.*node:22-slim/],
  [
    'on an Intel Mac',
    'no native build',
    { ...inPackage, platform: 'darwin-x64' },
    /no binary for Intel Macs\. Build it in a clone/,
  ],
  [
    'on Windows on ARM',
    'no native build',
    { ...inPackage, platform: 'win32-arm64' },
    /Windows on ARM: Node for x64 runs there, too/,
  ],
  ["version `GLIBC_2.34' not found", "`GLIBC_2.34' not found", inPackage, /needs GLIBC_2\.34/],
  ['of another platform', 'x.node: invalid ELF header', inPackage, /another platform.*npm ci/],
  [
    'of another one',
    "mach-o file, but is an incompatible architecture (have 'x86_64')",
    inPackage,
    /another platform/,
  ],
  ['anything else', 'no such luck', inPackage, /^Build it in a clone/],
])('what to do when the binary does not load: %s', (_, message, seen, advice) => {
  expect(loadAdvice(root, message, seen)).toMatch(advice)
})

// A bundle is one file elsewhere; in one of CommonJS there is no import.meta.url.
it.each(['import.meta.url', 'undefined'])('code moved elsewhere says so (%s)', (url) => {
  const folder = temporaryFolder()
  cpSync(`${root}/dist`, path.join(folder, 'dist'), { recursive: true })
  writeFileSync(path.join(folder, 'package.json'), '{ "name": "app", "type": "module" }')
  const program = path.join(folder, 'bundle.mjs')
  writeFileSync(
    program,
    `import { MoeError } from './dist/errors.js'
     import { native } from './dist/native.js'
     try { native() } catch (e) { console.log(e instanceof MoeError, e.code, e.message) }`,
  )
  if (url === 'undefined')
    for (const file of ['native', 'demo']) {
      const code = path.join(folder, 'dist', `${file}.js`)
      writeFileSync(code, readFileSync(code, 'utf8').replaceAll('import.meta.url', '({}).url'))
    }
  const { stdout, stderr } = spawnSync(process.execPath, [program], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  expect(stdout).toMatch(/^true ERR_MOE_NATIVE_LOAD .*looks like a bundle/)
})

describe('a bundle that esbuild makes', () => {
  const program = `import { demoModel, loadModel } from 'moe-native'
    const model = await loadModel(demoModel, { device: 'cpu', maxTokens: 64 }).catch(({ code }) => code)
    console.log(typeof model === 'string' ? model : (await model.generate('ROMEO:', { maxNewTokens: 2 })).ids.length)`

  it.each<[string, string[], string]>([
    ['runs with the package outside', ['moe-native'], '2\n'],
    ['says so with the package inside', ['@huggingface/hub', 'sharp'], 'ERR_MOE_NATIVE_LOAD\n'],
  ])('%s', async (_, external, said) => {
    const folder = temporaryFolder()
    const outfile = path.join(folder, 'bundle.mjs')
    mkdirSync(path.join(folder, 'node_modules'))
    symlinkSync(root, path.join(folder, 'node_modules/moe-native'))
    await build({
      stdin: { contents: program, resolveDir: folder },
      ...{ bundle: true, platform: 'node', format: 'esm', external, outfile, logLevel: 'error' },
    })
    const { stdout, stderr } = spawnSync(process.execPath, [outfile], {
      cwd: folder,
      encoding: 'utf8',
    })
    expect([stdout, stderr]).toEqual([said, ''])
  })
})
