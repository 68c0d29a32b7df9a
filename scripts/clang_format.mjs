// Runs clang-format with the given flags over every C++ source that git tracks.
import { execFileSync, spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'

const files = execFileSync(
  'git',
  [
    'ls-files',
    '--cached',
    '--others',
    '--exclude-standard',
    '*.h',
    '*.cc',
    '*.inl',
    '*.cu',
    '*.cuh',
  ],
  {
    encoding: 'utf8',
  },
)
const binary = createRequire(import.meta.url).resolve('clang-format/index.js')
const args = [binary, ...process.argv.slice(2), ...files.trim().split('\n')]
process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1
