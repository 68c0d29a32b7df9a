// Runs the tests, the sanitizers and the benchmarks on a GPU; prints a table and writes gpu-check.json. Each step has
// a limited time, so that `--only bench` and `--only tests` each fit ten minutes.
// Called by scripts/gpu-check.sh.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    out: { type: 'string', default: process.env.OUT ?? 'build/gpu-check' },
    only: { type: 'string' }, // names of steps, of a group: tests, sanitizers, bench
    seconds: { type: 'string', default: '120' }, // at most, for each step
  },
})
const { device, out } = values
mkdirSync(out, { recursive: true })

const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'native']
const say = (command, ...args) =>
  (spawnSync(command, args, { encoding: 'utf8' }).stdout ?? '').trim()

/** Runs a command for a limited time; its output goes to a file of the step's name. */
function run(name, command, args, env = {}) {
  const started = performance.now()
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, MOE_TEST_DEVICE: device, ...env },
    timeout: 1000 * Number(values.seconds),
    maxBuffer: 1 << 28,
  })
  writeFileSync(path.join(out, `${name}.log`), `${stdout}${stderr}`)
  const seconds = Math.round((performance.now() - started) / 100) / 10
  return { status: error ? String(error.code ?? error.message) : status, seconds, stdout }
}

function tests(name, files, env = {}, prefix = []) {
  const report = path.join(out, `${name}.json`)
  rmSync(report, { force: true })
  const args = [...vitest, ...files, '--reporter=json', `--outputFile=${report}`]
  const [command, ...rest] = [...prefix, process.execPath, ...args]
  const { status, seconds } = run(name, command, rest, env)
  const counts = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {}
  const { numPassedTests: passed = 0, numFailedTests: failed = 0 } = counts
  return { name, ok: status === 0 && passed > 0, status, passed, failed, seconds }
}

const ops = (names = '') => ['test/ops.test.ts', '-t', `ops on .${device}.${names}`]
const models = ['test/models', 'test/routers', 'test/engine/batching.test.ts']
const sanitizer = (tool) => [
  'compute-sanitizer',
  ...['--tool', tool, '--target-processes', 'all', '--error-exitcode', '99'],
]
/** [group, name, step] */
const steps = []
const step = (group, name, run) => steps.push({ group, name, run: () => run(name) })

// Kernels for sm_80 run on every newer GPU: the same cases hold them to the same f64 reference.
step('tests', 'mma-sync', (name) =>
  tests(name, ops('.*(linear|grouped_gemm)'), { MOE_CUDA_CAPABILITY: '80' }),
)
step('tests', 'ops', (name) => tests(name, ops()))
step('tests', 'fused', (name) => tests(name, ['test/cuda/fusion.test.ts']))
step('tests', 'models', (name) => tests(name, models))
step('tests', 'devices', (name) => tests(name, ['test/cuda/device.test.ts']))
for (const tool of ['memcheck', 'racecheck'])
  step('sanitizers', tool, (name) => tests(name, ops(), {}, sanitizer(tool)))

/** A program that prints JSON, or writes it to a file of its own. */
function program(name, command, args) {
  const { status, seconds, stdout } = run(name, command, args)
  if (status === 0 && stdout.startsWith('{')) writeFileSync(path.join(out, `${name}.json`), stdout)
  return { name, ok: status === 0, status, seconds }
}
const bench = ['dist/cli/main.js', 'bench', '--device', device, '--json']
const simulated = device.startsWith('cuda-sim') // so that this script can be tried without a GPU
const few = simulated
  ? ['--tokens', '1,9', '--seconds', '0']
  : ['--tokens', '1,8,64,512,4096', '--seconds', '0.1']
const tiny = simulated ? ['--tiny', '--rounds', '1'] : []
const node = process.execPath
step('bench', 'kernels', (name) => program(name, node, [...bench, ...few]))
step('bench', 'routings', (name) =>
  program(name, node, [...bench, 'groupedGemm', ...few, '--routings', 'zipf,one,empty']),
)
step('bench', 'headlines', (name) =>
  program(name, node, ['bench/headlines.mjs', '--device', device, '--json', ...tiny]),
)
if (say('python3', '-c', 'import torch; print(torch.cuda.is_available())') === 'True')
  step('bench', 'torch', (name) =>
    program(name, 'python3', ['bench/peers/torch/run.py', '--json', path.join(out, 'torch.json')]),
  )

const hardware = {
  gpu: say('nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'),
  cpu: os.cpus()[0]?.model,
  node: process.version,
}
const commit = say('git', 'rev-parse', '--short', 'HEAD')
const results = []
const only = values.only?.split(',')
for (const { group, name: own, run: runStep } of steps) {
  if (only && !only.includes(group) && !only.includes(own)) continue
  const result = runStep()
  results.push(result)
  const { name, ok, status, passed = '', failed = '', seconds } = result
  const cells = [name.padEnd(28), ok ? 'ok' : `FAILED (${status})`, passed, failed, `${seconds} s`]
  console.log(cells.join('\t'))
}
const report = { date: new Date().toISOString(), commit, device, hardware, results }
writeFileSync(path.join(out, 'gpu-check.json'), `${JSON.stringify(report, null, 2)}\n`)
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1
