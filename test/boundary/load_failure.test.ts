import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { loadAdvice } from '../../lib/load_failure.ts'
import { checkNode } from '../../lib/node_version.ts'
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
  [
    'on a 32-bit Node',
    'no native build',
    { ...inPackage, platform: 'win32-ia32' },
    /64-bit system: install the 64-bit Node/,
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

it.each([
  ['18.20.8', false],
  ['20.18.3', false],
  ['20.19.0', true],
  ['22.0.0', true],
  ['26.1.0', true],
])('Node %s: runs %s', (version, runs) => {
  if (runs) expect(() => checkNode(version)).not.toThrow()
  else expect(() => checkNode(version)).toThrow(`Node must be 20.19 or newer, got ${version}`)
})

it('an old Node gets a sentence, not a missing export', () => {
  const old = path.join(temporaryFolder(), 'old.mjs')
  writeFileSync(
    old,
    `import crypto from 'node:crypto'
     import { syncBuiltinESMExports } from 'node:module'
     delete crypto.hash
     syncBuiltinESMExports()
     Object.defineProperty(process.versions, 'node', { value: '18.20.8' })`,
  )
  const main = `${root}/dist/cli/main.js`
  const { status, stderr } = spawnSync(process.execPath, ['--import', old, main, 'generate', 'x'], {
    encoding: 'utf8',
  })
  expect([status, stderr]).toEqual([
    1,
    'moe-native: ERR_MOE_UNSUPPORTED moe-native: Node must be 20.19 or newer, got 18.20.8\n',
  ])
})

it('engines asks for the Node that is checked for', () => {
  const { engines } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
  const least = engines.node.replace('>=', '')
  expect(() => checkNode(`${least}.0`)).not.toThrow()
})

describe('a bundle that esbuild makes', () => {
  const program = `import { demoModel, loadModel } from 'moe-native'
    async function main() {
      const model = await loadModel(demoModel, { device: 'cpu', maxTokens: 64 }).catch(({ code, message }) => code + message)
      console.log(typeof model === 'string' ? model : (await model.generate('ROMEO:', { maxNewTokens: 2 })).ids.length)
    }
    main()`

  // In one of CommonJS there is no import.meta.url.
  it.each<['esm' | 'cjs', string, string[], RegExp]>([
    ['esm', 'runs with the package outside', ['moe-native'], /^2\n$/],
    ['cjs', 'runs with the package outside', ['moe-native'], /^2\n$/],
    ...(['esm', 'cjs'] as const).map(
      (format) =>
        [
          format,
          'says so with the package inside',
          ['@huggingface/hub', 'sharp'],
          /^ERR_MOE_NATIVE_LOAD.*looks like a bundle/,
        ] as ['esm' | 'cjs', string, string[], RegExp],
    ),
  ])('%s: %s', async (format, _, external, said) => {
    const folder = temporaryFolder()
    const outfile = path.join(folder, `bundle.${format === 'esm' ? 'mjs' : 'cjs'}`)
    mkdirSync(path.join(folder, 'node_modules'))
    symlinkSync(root, path.join(folder, 'node_modules/moe-native'))
    await build({
      stdin: { contents: program, resolveDir: folder },
      ...{ bundle: true, platform: 'node', format, external, outfile, logLevel: 'error' },
    })
    const { stdout, stderr } = spawnSync(process.execPath, [outfile], {
      cwd: folder,
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(stdout).toMatch(said)
  })
})

// Electron shows Node's functions its archive as a folder; native code sees what asarUnpack has put beside it.
it('binaries and demo are found beside an archive of Electron', () => {
  const folder = temporaryFolder()
  const [inside, beside] = ['app.asar', 'app.asar.unpacked'].map((name) =>
    path.join(folder, name, 'node_modules'),
  )
  cpSync(`${root}/dist`, `${inside}/moe-native/dist`, { recursive: true })
  cpSync(`${root}/package.json`, `${inside}/moe-native/package.json`)
  symlinkSync(`${root}/node_modules/node-gyp-build`, `${inside}/node-gyp-build`)
  mkdirSync(`${beside}/moe-native`, { recursive: true })
  for (const name of ['build', 'demo'])
    symlinkSync(path.join(root, name), `${beside}/moe-native/${name}`)
  const program = path.join(folder, 'app.asar/main.mjs')
  writeFileSync(
    program,
    `import { demoModel, loadModel } from 'moe-native'
     console.log(demoModel)
     const model = await loadModel(demoModel, { device: 'cpu', maxTokens: 64 })
     console.log((await model.generate('ROMEO:', { maxNewTokens: 2 })).ids.length)`,
  )
  const { stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' })
  expect([stdout, stderr]).toEqual([`${beside}/moe-native/demo/moepp-tiny\n2\n`, ''])
})

// dlopen would end the process.
it('a backend that is cut off is none', () => {
  const folder = path.join(temporaryFolder(), 'node_modules/moe-native')
  mkdirSync(`${folder}/build/Release`, { recursive: true })
  cpSync(`${root}/dist`, `${folder}/dist`, { recursive: true })
  cpSync(`${root}/package.json`, `${folder}/package.json`)
  symlinkSync(`${root}/node_modules/node-gyp-build`, path.join(folder, '../node-gyp-build'))
  const built = `${root}/build/Release`
  cpSync(`${built}/moe_native.node`, `${folder}/build/Release/moe_native.node`)
  const whole = readFileSync(`${built}/libmoe_cuda_sim.so`)
  for (const name of ['libmoe_cuda.so', 'libmoe_cuda_sim.so'])
    writeFileSync(`${folder}/build/Release/${name}`, whole.subarray(0, whole.length / 2))
  const program = path.join(folder, 'main.mjs')
  writeFileSync(
    program,
    `import { loadModel } from 'moe-native'
     for (const device of ['cuda', 'cuda-sim', 'auto'])
       await loadModel(${JSON.stringify(`${root}/demo/moepp-tiny`)}, { device, maxTokens: 64 }).then(
         (model) => console.log(model.device.type),
         ({ code, message }) => console.log(code, /one that is cut off/.test(message)),
       )`,
  )
  const { stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' })
  expect([stdout, stderr]).toEqual([`${'ERR_MOE_CUDA_UNAVAILABLE true\n'.repeat(2)}cpu\n`, ''])
})
