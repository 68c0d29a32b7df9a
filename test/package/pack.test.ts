import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'
import { type Installed, installPackage } from '../support/installed.ts'

// The tarball as it would be published; `npm run prebuilds` makes the binary that it carries.
const prebuilt = existsSync(`${root}/prebuilds`)

describe.skipIf(!prebuilt)('the packed tarball (after npm run prebuilds)', () => {
  let installed: Installed
  beforeAll(() => {
    installed = installPackage('packed')
  })
  const node = (...args: string[]) => installed.node(...args)

  it('holds what users need and nothing else', () => {
    const groups = new Set(
      installed.packed.files.map(({ path: file }) =>
        file
          .replace(/^dist\/.*\.js$/, 'dist/**/*.js')
          .replace(/^dist\/.*\.d\.ts$/, 'dist/**/*.d.ts')
          .replace(/^page\/\w+\.(js|css|html)$/, 'page/*')
          .replace(/^demo\/moepp-tiny\/.*$/, 'demo/moepp-tiny/*'),
      ),
    )
    const binaries = readdirSync(`${root}/prebuilds`, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.includes('.'))
      .map((file) => `prebuilds/${file}`)
    expect([...groups].sort()).toEqual(
      [
        ...['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
        ...['dist/**/*.d.ts', 'dist/**/*.js', 'demo/moepp-tiny/*', 'page/*', ...binaries],
      ].sort(),
    )
    expect(binaries.some((file) => file.endsWith('.node'))).toBe(true)
    expect(binaries.filter((file) => file.includes('sim'))).toEqual([])
    expect(installed.packed.size).toBeLessThan(20e6)
  })

  it('the command line runs', () => {
    const cli = 'node_modules/.bin/moe-native'
    const args = ['generate', '--prompt', 'ROMEO:', '--max-new-tokens', '5']
    const { status, stdout, stderr } = node(cli, ...args)
    expect(status).toBe(0)
    expect(stdout).toMatch(/^ROMEO:.+\n$/s)
    expect(stderr).toContain('5 new tokens')
  })

  const program = `
    const model = await loadModel(demoModel)
    const { ids } = await model.generate([1, 2, 3], { maxNewTokens: 3, stopIds: [] })
    await model.dispose()
    if (ids.length !== 3) throw new Error('no tokens')
    console.log('ran')`
  const imports = "import { demoModel, loadModel } from 'moe-native'\n"

  it('an ESM import', async () => {
    const ended = await installed.run('esm.mjs', `${imports}${program}`)
    expect(ended).toMatchObject({ status: 0, stdout: 'ran\n' })
  })

  it('a CommonJS require', async () => {
    const source = `const { demoModel, loadModel } = require('moe-native');(async () => {${program}})()`
    const ended = await installed.run('cjs.cjs', source)
    expect(ended).toMatchObject({ status: 0, stdout: 'ran\n' })
  })

  it('a worker thread', async () => {
    const source = `import { isMainThread, Worker } from 'node:worker_threads'
      ${imports}
      if (isMainThread) new Worker(new URL(import.meta.url))
      else {${program}}`
    const ended = await installed.run('worker.mjs', source)
    expect(ended).toMatchObject({ status: 0, stdout: 'ran\n' })
  })

  it.each(['nodenext', 'bundler'])('a strict TypeScript consumer, %s resolution', (resolution) => {
    const source = `import { type GenerateResult, loadModel, type Model, MoeError, ops } from 'moe-native'
      import { type RunningServer, serve } from 'moe-native/server'
      const model: Model = await loadModel('x', { device: 'auto', dtype: 'bf16' })
      const result: GenerateResult = await model.generate('a', { stop: ['b'], routing: true })
      const first: Int32Array | undefined = result.routing?.[0]?.expertIds
      for await (const { text } of model.generate([1])) text.trim()
      try { await ops.topK({ logits: { data: new Float32Array(2), shape: [1, 2] }, kinds: ['ffn', 'zero'], topK: 1, weights: 'scores' }) }
      catch (error) { if (error instanceof MoeError && error.code === 'ERR_MOE_SHAPE') console.log(first) }
      const server: RunningServer = await serve(model, { port: 0 })
      await server.close()
      await model.dispose()`
    writeFileSync(path.join(installed.app, 'strict.mts'), source)
    const compilerOptions = {
      ...{ strict: true, noEmit: true, target: 'es2022', skipLibCheck: false },
      ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
      ...{ noPropertyAccessFromIndexSignature: true, noImplicitOverride: true },
      ...{ verbatimModuleSyntax: true, isolatedModules: true, erasableSyntaxOnly: true },
      ...{ module: resolution === 'bundler' ? 'esnext' : 'nodenext', moduleResolution: resolution },
      ...{ types: ['node'], typeRoots: [path.join(root, 'node_modules/@types')] },
    }
    const project = path.join(installed.app, `${resolution}.json`)
    writeFileSync(project, JSON.stringify({ compilerOptions, files: ['strict.mts'] }))
    const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', project], {
      encoding: 'utf8',
    })
    expect(stdout).toBe('')
    expect(status).toBe(0)
  })

  it('says what was tried where no binary fits', async () => {
    const prebuilds = path.join(installed.app, 'node_modules/moe-native/prebuilds')
    renameSync(prebuilds, `${prebuilds}.away`)
    const source = `import { loadModel } from 'moe-native'
      await loadModel('x').catch(({ code, message }) => console.log(code, message))`
    const { stdout } = await installed.run('missing.mjs', source)
    renameSync(`${prebuilds}.away`, prebuilds)
    expect(stdout).toMatch(/^ERR_MOE_NATIVE_LOAD/)
    expect(stdout).toContain(`${process.platform}-${process.arch}`)
    expect(stdout).toContain('npm run build')
  })

  it('publint and attw find nothing', () => {
    const bins = path.join(root, 'node_modules/.bin')
    const { tarball } = installed
    const lint = spawnSync(path.join(bins, 'publint'), ['run', tarball, '--strict'], {
      encoding: 'utf8',
    })
    expect(lint.stdout).toContain('All good!')
    const attw = spawnSync(path.join(bins, 'attw'), [tarball, '--profile', 'esm-only'], {
      encoding: 'utf8',
    })
    expect(attw.stdout).not.toMatch(/❌|🐛|💀|🚭/u)
    expect([lint.status, attw.status]).toEqual([0, 0])
  })
})
