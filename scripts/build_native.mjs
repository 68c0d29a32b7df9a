#!/usr/bin/env node
// Builds the addon with cmake-js, or plain cmake where cmake-js is not installed, and copies it to
// build/Release. Called by `npm run build:native`, binding.gyp and prebuildify.
//   node scripts/build_native.mjs [--out build/Release] [--config Release] [--arch x64]
// The CMake tree is build-cmake/, since `node-gyp rebuild` deletes build/.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  strict: false,
  options: { out: { type: 'string' }, config: { type: 'string' }, arch: { type: 'string' } },
})
const config = values.config ?? 'Release'
const arch = values.arch ?? process.arch
const out = path.resolve(values.out ?? path.join(root, 'build', config))
const sanitize = process.env.MOE_SANITIZE ?? ''
// MOE_CUDA, MOE_CUDA_ARCHS, MOE_CUDA_SIM: see CMakeLists.txt. MOE_BUILD_TREE names another tree.
const settings = ['MOE_CUDA', 'MOE_CUDA_ARCHS', 'MOE_CUDA_SIM'].flatMap((name) =>
  process.env[name] ? [`${name}=${process.env[name]}`] : [],
)
const work = path.join(
  root,
  'build-cmake',
  [process.platform, arch, sanitize, process.env.MOE_BUILD_TREE].filter(Boolean).join('-'),
)
const jobs = String(os.availableParallelism())

function run(command, ...args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  if (result.error?.code === 'ENOENT') {
    console.error(
      `moe-native: building needs ${command}: install CMake >= 3.20 and a C++20 compiler`,
    )
    process.exit(1)
  }
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`)
    console.error('moe-native: the build failed; it needs CMake >= 3.20 and a C++20 compiler')
    process.exit(result.status ?? 1)
  }
  for (const [, line] of result.stdout.matchAll(/^-- (moe-native: .+)$/gm)) console.error(line)
}

function cmakeJs() {
  try {
    const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json')
    return path.resolve(
      path.dirname(manifest),
      JSON.parse(readFileSync(manifest, 'utf8')).bin['cmake-js'],
    )
  } catch {
    return undefined
  }
}

const started = performance.now()
const script = cmakeJs()
if (script) {
  const places = ['-d', root, '-O', work, '-B', config, '-p', jobs, '-a', arch]
  const defines = [`MOE_SANITIZE=${sanitize}`, ...settings].map((setting) => `--CD${setting}`)
  // `build` alone configures a new tree only: settings would not reach an old one.
  if (settings.length > 0) run(process.execPath, script, 'configure', ...places, ...defines)
  run(process.execPath, script, 'build', ...places, ...defines)
} else {
  run(
    'cmake',
    '-S',
    root,
    '-B',
    work,
    `-DCMAKE_BUILD_TYPE=${config}`,
    `-DMOE_SANITIZE=${sanitize}`,
    ...settings.map((setting) => `-D${setting}`),
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(work, config)}`,
  )
  run('cmake', '--build', work, '--config', config, '--parallel', jobs)
}

// Unchanged files are left alone and changed ones replaced whole: a running process may have them mapped.
mkdirSync(out, { recursive: true })
const products = (dir) => readdirSync(dir).filter((file) => /\.(node|so|dylib)$/.test(file))
const made = products(path.join(work, config))
for (const file of products(out)) if (!made.includes(file)) rmSync(path.join(out, file))
for (const file of made) {
  const from = path.join(work, config, file)
  const to = path.join(out, file)
  const old = statSync(to, { throwIfNoEntry: false })
  if (old && old.mtimeMs >= statSync(from).mtimeMs && old.size === statSync(from).size) continue
  copyFileSync(from, `${to}.new`)
  renameSync(`${to}.new`, to)
  console.error(
    `moe-native: built ${path.relative(root, to)} in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  )
}
