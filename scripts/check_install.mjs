// The packed tarball on every supported Node with several versions of npm: install, `npm ci`, run, the examples, too;
// sizes and times.
//   npm run prebuilds && node scripts/check_install.mjs [--node 20.19,22,24,26] [--npm 11,12] [--json]
// Needs the npm registry, for the versions and for the sizes of other packages (--peers).
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  options: {
    node: { type: 'string', default: '20.19,22,24,26' },
    npm: { type: 'string', default: '11,12' },
    peers: { type: 'boolean' },
    json: { type: 'boolean' },
  },
})
const work = mkdtempSync(path.join(os.tmpdir(), 'moe-native-install-'))
const quiet = ['--no-audit', '--no-fund', '--silent']
const sizeOf = (dir) =>
  Number(execFileSync('du', ['-sb', dir], { encoding: 'utf8' }).split('\t')[0])

const [{ filename, size }] = JSON.parse(
  execFileSync('npm', ['pack', '--json', '--pack-destination', work], {
    cwd: root,
    encoding: 'utf8',
  }),
)
const tarball = path.join(work, filename)

/** Installs a package into a folder of its own. */
function install(name, ...packages) {
  const folder = path.join(work, name)
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  execFileSync('npm', ['install', ...quiet, '--ignore-scripts', ...packages], { cwd: folder })
  return folder
}

const program = `
  import { demoModel, loadModel } from 'moe-native'
  const model = await loadModel(demoModel)
  console.log((await model.generate('ROMEO:', { maxNewTokens: 4 })).ids.length)
  await model.dispose()`

const npms = values.npm.split(',').map((version) => ({
  version,
  cli: path.join(install(`npm-${version}`, `npm@${version}`), 'node_modules/npm/bin/npm-cli.js'),
}))
/** All but the server, which does not end. */
const examples = readdirSync(path.join(root, 'examples')).filter((name) =>
  /^(?!server).*\.mjs$/.test(name),
)
const runs = []
for (const version of values.node.split(',')) {
  const folder = install(`node-${version}`, `node-linux-${process.arch}@${version}`)
  const node = path.join(folder, `node_modules/node-linux-${process.arch}/bin/node`)
  for (const { version: npm, cli } of npms) {
    const app = path.join(work, `app-${version}-${npm}`)
    mkdirSync(app)
    writeFileSync(path.join(app, 'package.json'), '{ "private": true }')
    writeFileSync(path.join(app, 'run.mjs'), program)
    const call = (...args) =>
      spawnSync(node, [cli, ...args, '--no-audit', '--no-fund'], { cwd: app, encoding: 'utf8' })
    const started = performance.now()
    const installed = call('install', tarball)
    const seconds = (performance.now() - started) / 1000
    rmSync(path.join(app, 'node_modules'), { recursive: true })
    const clean = call('ci')
    const ran = spawnSync(node, ['run.mjs'], { cwd: app, encoding: 'utf8' })
    const failed = examples.filter((name) => {
      cpSync(path.join(root, 'examples', name), path.join(app, name))
      return spawnSync(node, [name], { cwd: app, input: 'ROMEO:\n' }).status !== 0
    })
    // What npm says of itself and of the machine's settings is not about this package.
    const warnings = `${installed.stderr}${clean.stderr}`
      .split('\n')
      .filter(
        (line) =>
          line !== '' &&
          !/^npm notice|Unknown user config|npm v\S+ does not support Node/.test(line),
      )
      .concat(failed.map((name) => `examples/${name} failed`))
    const ok =
      installed.status === 0 && clean.status === 0 && ran.stdout === '4\n' && warnings.length === 0
    runs.push({
      node: version,
      npm,
      ok,
      seconds,
      warnings,
      bytes: sizeOf(path.join(app, 'node_modules')),
    })
  }
}

const peers = values.peers
  ? ['node-llama-cpp', 'onnxruntime-node', '@huggingface/transformers']
  : []
const report = {
  tarballBytes: size,
  installedBytes: runs[0].bytes,
  runs,
  peers: Object.fromEntries(
    peers.map((name) => [
      name,
      sizeOf(path.join(install(`peer-${name.replace('/', '-')}`, name), 'node_modules')),
    ]),
  ),
}
rmSync(work, { recursive: true })
if (values.json) console.log(JSON.stringify(report, null, 2))
else {
  for (const { node, npm, ok, seconds, warnings } of runs)
    console.log(
      `node ${node}, npm ${npm}: ${ok ? 'ok' : `FAILED ${warnings.join(' | ')}`}, install ${seconds.toFixed(1)} s`,
    )
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`
  console.log(`tarball ${megabytes(size)}, installed ${megabytes(report.installedBytes)}`)
  for (const [name, bytes] of Object.entries(report.peers))
    console.log(`${name} installed ${megabytes(bytes)}`)
}
process.exitCode = runs.every(({ ok }) => ok) ? 0 : 1
