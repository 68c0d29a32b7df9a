#!/usr/bin/env node
// Fuzzes native code (libFuzzer, where clang++ is) and the JavaScript readers. Ends with 1 at the first finding.
//   node scripts/fuzz.mjs [--seconds 60] [--target ops,pickle] [--seed 1]     seconds are shared out among the targets
//   node scripts/fuzz.mjs --target readers                                    or natives: all of a kind
//   node scripts/fuzz.mjs --target pickle --seed 1 --from 4711 --runs 1       one input of a reader again
// Needs `npm run build`. Native targets are built into build-cmake/fuzz, and keep what they have found there.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'

const root = path.resolve(import.meta.dirname, '..')
const tree = path.join(root, 'build-cmake/fuzz')
const natives = ['ops', 'weights']
const readers =
  `safetensors index pickle zip vmoe sentencepiece tokenizerJson config settings peft phatgoose
  template answer schema request hub mistakes`.split(/\s+/)

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    target: { type: 'string' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    runs: { type: 'string', default: 'Infinity' },
  },
})
const seed = Number(values.seed)
const kinds = { natives, readers }
const asked = values.target?.split(',').flatMap((name) => kinds[name] ?? name) ?? [
  ...natives,
  ...readers,
]
const unknown = asked.find((name) => ![...natives, ...readers].includes(name))
if (unknown) {
  console.error(`fuzz: --target must be of ${[...natives, ...readers].join(', ')}, got ${unknown}`)
  process.exit(2)
}
const compiler = process.env.CLANGXX ?? 'clang++'
const hasClang = spawnSync(compiler, ['--version']).status === 0
const chosen = asked.filter((name) => hasClang || !natives.includes(name))
if (chosen.length < asked.length)
  console.log(`fuzz: ops and weights are left out: no ${compiler} (Debian: apt-get install clang)`)
const seconds = Number(values.seconds) / Math.max(chosen.length, 1)

function build() {
  const flags = [
    '-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all',
    '-fno-omit-frame-pointer -g1',
  ].join(' ')
  const settings = [
    '-DMOE_FUZZ=ON',
    '-DMOE_CUDA=OFF',
    '-DMOE_CUDA_SIM=OFF',
    '-DCMAKE_BUILD_TYPE=None',
  ]
  const steps = [
    [
      '-S',
      root,
      '-B',
      tree,
      ...settings,
      `-DCMAKE_CXX_COMPILER=${compiler}`,
      `-DCMAKE_CXX_FLAGS=${flags}`,
    ],
    [
      '--build',
      tree,
      '--parallel',
      String(os.availableParallelism()),
      '--target',
      ...natives.map((n) => `fuzz_${n}`),
    ],
  ]
  for (const args of steps) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { cwd: root, encoding: 'utf8' })
    if (status === 0) continue
    console.error(`${stdout}${stderr}\nfuzz: the build failed`)
    process.exit(1)
  }
}

/** Runs a libFuzzer target. */
async function fuzzNative(name) {
  const corpus = path.join(tree, 'corpus', name)
  mkdirSync(corpus, { recursive: true })
  const seeds = path.join(root, 'test/fuzz/seeds', name)
  const time = Math.max(1, Math.round(seconds))
  const runs = Number.isFinite(Number(values.runs)) ? [`-runs=${values.runs}`] : []
  const child = spawn(
    path.join(tree, `fuzz_${name}`),
    [
      ...[corpus, ...(existsSync(seeds) ? [seeds] : []), `-max_total_time=${time}`, ...runs],
      ...[
        `-seed=${seed}`,
        '-max_len=512',
        '-timeout=20',
        '-rss_limit_mb=2048',
        '-print_final_stats=1',
      ],
      `-artifact_prefix=${tree}/${name}-`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let log = ''
  child.stderr.on('data', (text) => {
    log = `${log}${text}`.slice(-20_000)
  })
  const status = await new Promise((resolve) => child.on('close', resolve))
  const executions = Number(/number_of_executed_units: *(\d+)/.exec(log)?.[1] ?? 0)
  return { executions, finding: status === 0 ? undefined : log }
}

// The machine is shared and this process may be a nice one.
const hangSeconds = 30

/** Runs a reader's target in a worker, which an endless loop cannot hold. */
async function fuzzReader(name) {
  const progress = new Float64Array(new SharedArrayBuffer(16)) // input, of them refused
  const first = Number(values.from)
  const end = first + Number(values.runs)
  const worker = new Worker(path.join(root, 'test/fuzz/worker.mjs'), {
    workerData: { name, seed, first, end, seconds, progress },
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  })
  progress[0] = first
  let last = first
  let since = performance.now()
  let finding
  const watch = setInterval(() => {
    if (progress[0] !== last) since = performance.now()
    last = progress[0]
    const seconds = progress[0] === first ? 4 * hangSeconds : hangSeconds // the first one loads modules
    if (performance.now() - since < seconds * 1000) return
    finding = `no end in ${seconds} s`
    clearInterval(watch)
    worker.terminate().catch(() => {})
  }, 500)
  worker.on('error', (error) => {
    finding ??= error.stack ?? String(error)
  })
  await new Promise((resolve) => worker.on('exit', resolve))
  clearInterval(watch)
  const again = `node scripts/fuzz.mjs --target ${name} --seed ${seed} --from ${progress[0]} --runs 1`
  return {
    executions: progress[0] - first,
    refused: progress[1],
    finding: finding && `${finding}\nagain: ${again}`,
  }
}

if (chosen.some((name) => natives.includes(name))) build()
let executions = 0
let findings = 0
for (const name of chosen) {
  const started = performance.now()
  const result = await (natives.includes(name) ? fuzzNative(name) : fuzzReader(name))
  executions += result.executions
  const took = ((performance.now() - started) / 1000).toFixed(1)
  const refused = result.refused === undefined ? '' : `, ${result.refused} refused`
  console.log(`${name}: ${result.executions} executions in ${took} s${refused}`)
  if (!result.finding) continue
  findings++
  console.error(`${name}: finding\n${result.finding}`)
}
console.log(`fuzz: ${executions} executions, ${findings} targets with a finding`)
process.exit(findings > 0 ? 1 : 0)
