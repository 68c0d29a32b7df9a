// Runs the parts of the check; called by scripts/gpu-check.sh. A report is written after each step, results as they
// come, so that a machine that is taken away leaves what was measured. In --out: gpu-check.json (the steps),
// results.jsonl (one result a line), log.txt (the end of what each step wrote), profile.ncu-rep and torch.json.
import { spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { limited } from './limited.mjs'
import { parts, stepsOf } from './steps.mjs'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    out: { type: 'string', default: process.env.OUT || 'build/gpu-check/results' },
    part: { type: 'string', default: parts.join(',') },
    only: { type: 'string' }, // names of steps
    minutes: { type: 'string', default: '10' }, // of a part
  },
})
const { device, out } = values
const only = values.only?.split(',')
const budget = 60 * Number(values.minutes)
const chosen = values.part.split(',')
const unknown = chosen.find((part) => !parts.includes(part))
if (unknown !== undefined || !(budget > 0)) {
  console.error(
    `usage: gpu-check.sh [--part ${parts.join(',')}] [--only STEPS] [--minutes 10] [--device cuda] [--out DIR]`,
  )
  process.exit(2)
}
const file = (name) => path.join(out, name)
mkdirSync(out, { recursive: true })
for (const name of ['gpu-check.json', 'results.jsonl', 'log.txt'])
  rmSync(file(name), { force: true })

const said = (command, ...args) =>
  (spawnSync(command, args, { encoding: 'utf8' }).stdout ?? '').trim()
const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0

const results = []
const report = {
  date: new Date().toISOString(),
  commit: said('git', 'rev-parse', '--short', 'HEAD'),
  device,
  hardware: {
    gpu: said(
      'nvidia-smi',
      '--query-gpu=name,driver_version,memory.total',
      '--format=csv,noheader',
    ),
    cpu: os.cpus()[0]?.model,
    node: process.version,
  },
  results,
}

/** Runs one step; `seconds` is its limit. */
async function run(part, step, seconds) {
  const { name, tests, prefix = [], node, command, env = {}, needs } = step
  if (needs && !has(needs)) return { part, name, status: `no ${needs}`, ok: true, seconds: 0 }
  const started = performance.now()
  const counts = { passed: 0, failed: 0, results: 0 }
  const failures = []
  const reporter = ['--reporter', 'scripts/gpu_check/reporter.mjs']
  const argv = command ?? [
    ...prefix,
    process.execPath,
    ...(tests
      ? ['node_modules/vitest/vitest.mjs', 'run', '--project', 'native', ...reporter, ...tests]
      : node),
  ]
  const onLine = (line) => {
    if (!line.startsWith('{')) return
    appendFileSync(file('results.jsonl'), `{"step":${JSON.stringify(name)},${line.slice(1)}\n`)
    if (!tests) return void counts.results++
    const { test, state, errors = [] } = JSON.parse(line)
    if (state in counts) counts[state]++
    if (state === 'failed' && failures.length < 20) failures.push(`${test}: ${errors[0] ?? ''}`)
  }
  const { status, log } = await limited(argv[0], argv.slice(1), {
    ...{ seconds, onLine },
    env: { ...process.env, MOE_TEST_DEVICE: device, ...env },
  })
  appendFileSync(file('log.txt'), `\n=== ${part} ${name}: ${argv.join(' ')}\n${log}\n`)
  const ok = status === 0 && (tests ? counts.passed > 0 && counts.failed === 0 : true)
  const took = Math.round((performance.now() - started) / 100) / 10
  return { part, name, status, ok, seconds: took, ...counts, ...(failures.length && { failures }) }
}

const row = ({ part, name, ok, status, passed = 0, failed = 0, results: lines = 0, seconds }) =>
  [
    ...[
      part.padEnd(10),
      name.padEnd(14),
      (ok ? (status === 0 ? 'ok' : status) : `NOT OK: ${status}`).padEnd(22),
    ],
    passed + failed > 0 ? `${passed} passed, ${failed} failed` : `${lines} results`,
    `${seconds} s`,
  ].join('  ')

for (const part of chosen) {
  const steps = stepsOf(part, device, out).filter(({ name }) => !only || only.includes(name))
  const all = steps.reduce((sum, step) => sum + step.seconds, 0)
  const deadline = performance.now() + 1000 * (budget - Math.min(15, 0.1 * budget)) // what comes after has to fit, too
  let later = all
  for (const step of steps) {
    later -= step.seconds
    const left = (deadline - performance.now()) / 1000
    // What earlier steps did not use is this one's; later ones keep their shares.
    const seconds = Math.max(1, left - (later * budget) / Math.max(all, 600))
    const result = await run(part, step, seconds)
    results.push(result)
    writeFileSync(file('gpu-check.json'), `${JSON.stringify(report, null, 2)}\n`)
    console.error(row(result))
  }
}
console.log(`${report.hardware.gpu || device}, commit ${report.commit}, ${report.date}`)
for (const result of results) {
  console.log(row(result))
  for (const failure of result.failures ?? [])
    console.log(`    ${failure.split('\n')[0].slice(0, 160)}`)
}
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1
