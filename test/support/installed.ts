import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from './files.ts'
import { root } from './golden.ts'

/** The Node of a user: `node scripts/check_docs.mjs --node 22` sets another than the one that runs the tests. */
export const userNode = process.env.MOE_TEST_NODE ?? process.execPath

interface Packed {
  filename: string
  size: number
  files: { path: string }[]
}

/** An empty project with the packed package installed. */
export interface Installed {
  app: string
  /** Where its `node` and `sh` are. */
  bin: string
  tarball: string
  packed: Packed
  /** Runs node in the project, where there is only node and a shell: no compiler, no cmake, no python, no npm. */
  node(...args: string[]): SpawnSyncReturns<string>
  /** Writes a module into the project and runs it, as `node` does. */
  run(name: string, source: string, options?: { args?: string[]; input?: string }): Promise<Ended>
}

export interface Ended {
  status: number | null
  stdout: string
  stderr: string
}

/**
 * Packs the package and installs the tarball offline, from files: what a registry would give.
 *
 * @param addon `packed`: the binaries of `npm run prebuilds`, as users get them; `built`: those of this build
 */
export function installPackage(addon: 'packed' | 'built'): Installed {
  const folder = temporaryFolder()
  const [app, bin] = [path.join(folder, 'app'), path.join(folder, 'bin')]
  mkdirSync(app)
  mkdirSync(bin)
  symlinkSync(userNode, path.join(bin, 'node'))
  symlinkSync('/bin/sh', path.join(bin, 'sh'))
  const dependencies = ['node-gyp-build', '@huggingface/tokenizers']
  const packages = [root, ...dependencies.map((name) => path.join(root, 'node_modules', name))]
  const pack = execFileSync('npm', ['pack', '--json', '--pack-destination', folder, ...packages], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const all = JSON.parse(pack) as Packed[]
  const tarballs = all.map(({ filename }) => path.join(folder, filename))
  writeFileSync(path.join(app, 'package.json'), '{ "name": "app", "private": true }')

  const env = { ...process.env, PATH: bin, NODE_PATH: '' }
  const node = (...args: string[]): SpawnSyncReturns<string> =>
    spawnSync('node', args, { cwd: app, env, encoding: 'utf8', timeout: 150_000 })
  const global = execFileSync('npm', ['root', '-g'], { encoding: 'utf8' }).trim()
  const npm = path.join(global, 'npm/bin/npm-cli.js')
  const quiet = ['--offline', '--no-audit', '--no-fund']
  const command = [npm, 'install', ...quiet, ...tarballs]
  const { status, stderr } = spawnSync(process.execPath, command, {
    ...{ cwd: app, env, encoding: 'utf8' },
  })
  if (status !== 0 || /warn|error/i.test(stderr))
    throw new Error(`npm install ended with ${status}\n${stderr}`)
  if (addon === 'built')
    cpSync(`${root}/build/Release`, `${app}/node_modules/moe-native/build/Release`, {
      recursive: true,
    })

  const run: Installed['run'] = (name, source, { args = [], input = '' } = {}) => {
    writeFileSync(path.join(app, name), source)
    const child = spawn('node', [name, ...args], { cwd: app, env })
    const out = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].setEncoding('utf8').on('data', (text) => (out[stream] += text))
    child.stdin.end(input)
    return new Promise((resolve, reject) => {
      child.once('error', reject).once('close', (code) => resolve({ status: code, ...out }))
    })
  }
  return { app, bin, tarball: tarballs[0]!, packed: all[0]!, node, run }
}
