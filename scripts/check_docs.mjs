// node scripts/check_docs.mjs [--node 22,24,26] [--programs]: the documentation's code and the examples, in an empty project
// with the package installed, on other versions of Node than the one at hand; as JavaScript, and from 22.18 on as
// TypeScript. --programs leaves out commands. Takes Node from the npm registry, once, into build/node. Linux only.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  options: { node: { type: 'string', default: '22,24,26' }, programs: { type: 'boolean' } },
})

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
  if (error) throw error
  return status === 0
}

/** The program of a version, which the package of that name on the registry is. */
function nodeOf(version) {
  const name = `node-linux-${process.arch}`
  const folder = path.join(root, 'build/node', version)
  const program = path.join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(program)) return program
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
  if (run('npm', ['install', ...quiet, `${name}@${version}`], { cwd: folder })) return program
  throw new Error(`node ${version} cannot be installed`)
}

const files = ['test/docs/blocks.test.ts', 'test/docs/examples.test.ts']
const only = values.programs ? ['-t', 'examples|m[jt]s.? runs'] : []
for (const version of values.node.split(',')) {
  const MOE_TEST_NODE = nodeOf(version)
  const env = { ...process.env, MOE_TEST_NODE }
  if (!run(MOE_TEST_NODE, ['--version'])) process.exitCode = 1
  if (!run('npx', ['vitest', 'run', '--project', 'native', ...files, ...only], { env }))
    process.exitCode = 1
}
