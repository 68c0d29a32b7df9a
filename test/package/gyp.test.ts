import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'

const headers = path.resolve(path.dirname(process.execPath), '..')
const missing = [
  [existsSync(`${root}/build-cmake/${process.platform}-${process.arch}`), 'a build tree'],
  [existsSync(`${headers}/include/node/common.gypi`), "Node's headers"],
  [spawnSync('python3', ['--version']).status === 0, 'python3'],
].flatMap(([there, what]) => (there ? [] : [what]))

// In a clone of links, since node-gyp empties build/: CMake's tree is the one there is, so that little is compiled.
describe('binding.gyp', () => {
  const needs = missing.length > 0 ? ` (needs ${missing.join(' and ')})` : ''
  it.skipIf(missing.length > 0)(
    `builds an addon that runs with plain node-gyp${needs}`,
    () => {
      const clone = temporaryFolder()
      for (const file of ['binding.gyp', 'package.json', 'CMakeLists.txt', 'scripts'])
        symlinkSync(path.join(root, file), path.join(clone, file))
      const npm = path.join(execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim(), 'npm')
      const gyp = path.join(npm, 'node_modules/node-gyp/bin/node-gyp.js')
      const args = [gyp, 'rebuild', `--nodedir=${headers}`]
      const built = spawnSync(process.execPath, args, { cwd: clone, encoding: 'utf8' })
      expect([built.status, built.status === 0 ? '' : built.stderr]).toEqual([0, ''])
      const addon = createRequire(import.meta.url)(`${clone}/build/Release/moe_native.node`)
      expect(addon.cpu().threads).toBeGreaterThan(0)
    },
    600_000,
  )
})
