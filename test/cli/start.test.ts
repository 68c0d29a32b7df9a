import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'

/** The files of this package and of others that a command has loaded when it ends, and their bytes. */
function loadedBy(...args: string[]) {
  const folder = temporaryFolder()
  const { status } = spawnSync(process.execPath, [`${root}/dist/cli/main.js`, ...args], {
    env: { ...process.env, NODE_V8_COVERAGE: folder },
  })
  expect(status).toBe(0)
  const [report] = readdirSync(folder)
  const { result } = JSON.parse(readFileSync(path.join(folder, report!), 'utf8')) as {
    result: { url: string }[]
  }
  return result
    .filter(({ url }) => url.startsWith('file:'))
    .map(({ url }) => fileURLToPath(url))
    .map((file) => ({ file: path.relative(root, file), text: readFileSync(file, 'utf8') }))
}

// A first token takes as long as what is loaded before it: ARCHITECTURE.md, "Modules that are loaded together share a file".
it('a first token needs few files, and none of what it does not use', () => {
  const loaded = loadedBy('generate', 'ROMEO:', '--max-new-tokens', '1')
  expect(loaded.length).toBeGreaterThan(5)
  expect(loaded.length).toBeLessThan(60)
  expect(loaded.reduce((sum, { text }) => sum + text.length, 0)).toBeLessThan(500_000)
  const others = loaded.filter(({ file }) => !file.startsWith('dist'))
  expect(new Set(others.map(({ file }) => path.dirname(file)))).toEqual(
    new Set(['node_modules/node-gyp-build']),
  )
  // esbuild names each module above its code.
  const modules = loaded.flatMap(({ text }) =>
    [...text.matchAll(/^\/\/ (lib\/.*)$/gm)].map(([, module]) => module!),
  )
  expect(modules).toContain('lib/engine/scheduler.ts')
  const unused =
    /lib\/(vision|seq2seq|server|convert|bench)\/|template\.ts|matcher_thread|hugging_face|hub\/pull|load_(vision|seq2seq)/
  expect(modules.filter((module) => unused.test(module))).toEqual([])
})

it('a version needs next to nothing', () => {
  expect(loadedBy('--version').length).toBeLessThan(10)
})
