// What a GPU machine without Node, npm and a network needs beside a checkout, in parts that fit its limits.
//   pack [--up 64] [--tree MIB] [--archs 90a-real] [--simulator]   writes build/gpu-check/part.1-of-N …
//   plan [--up 64] [--tree MIB] [--minutes 10]                     prints the calls, with their sizes
// --up: MiB that one call may bring. --tree: MiB of the checkout that each call brings; 0 where it is brought once.
// --simulator: the ordinary build with the simulated GPU instead, to try all of it without one.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { parts as checks } from './steps.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    up: { type: 'string', default: '64' },
    tree: { type: 'string' },
    archs: { type: 'string', default: '90a-real' },
    minutes: { type: 'string', default: '10' },
    simulator: { type: 'boolean' },
  },
})
const folder = 'build/gpu-check'
const MiB = 2 ** 20
const up = Number(values.up) * MiB

function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (status !== 0) throw new Error(`${command} ended with ${status}`)
}

/** Bytes of the checkout: files that git knows or does not ignore. */
function treeBytes() {
  if (values.tree !== undefined) return Number(values.tree) * MiB
  const files = execFileSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], {
    maxBuffer: 1 << 28,
  })
  return String(files)
    .split('\0')
    .filter((file) => file && existsSync(file))
    .reduce((sum, file) => sum + statSync(file).size, 0)
}

const partFiles = () =>
  (existsSync(folder) ? readdirSync(folder) : [])
    .filter((file) => file.startsWith('part.'))
    .sort((a, b) => parseInt(a.slice(5), 10) - parseInt(b.slice(5), 10))
    .map((file) => path.join(folder, file))

/** Packages that tests load: vitest's and the tokenizers', without compilers, linters and build tools. */
function packages() {
  const found = JSON.parse(
    execFileSync('npm', ['query', ':root > *, #vitest *, #@huggingface/tokenizers *'], {
      maxBuffer: 1 << 28,
    }),
  )
  const left =
    /^node_modules\/(@biomejs|typescript|clang-format|cmake-js|prebuildify|openai|publint|@arethetypeswrong|node-api-headers|lightningcss)/
  return [...new Set(found.map(({ location }) => location))]
    .filter((location) => !left.test(location))
    .sort()
}

function pack() {
  const release = `${folder}/release`
  if (values.simulator) {
    mkdirSync(`${release}/build/Release`, { recursive: true })
    for (const file of readdirSync('build/Release'))
      copyFileSync(`build/Release/${file}`, `${release}/build/Release/${file}`)
  } else
    run(process.execPath, ['scripts/build_native.mjs', '--out', `${release}/build/Release`], {
      ...{
        MOE_BUILD_TREE: 'gpu-check',
        MOE_CUDA: 'ON',
        MOE_CUDA_SIM: 'OFF',
        MOE_CUDA_ARCHS: values.archs,
      },
    })
  run('npm', ['run', '--silent', 'build:ts'])
  mkdirSync(`${release}/.gpu-check`, { recursive: true })
  copyFileSync(process.execPath, `${release}/.gpu-check/node`)
  run('strip', [`${release}/.gpu-check/node`])
  const archive = `${folder}/all.tar.xz`
  const tar = [
    'cJf',
    archive,
    '-C',
    release,
    '.gpu-check',
    'build/Release',
    '-C',
    process.cwd(),
    'dist',
    ...packages(),
  ]
  run('tar', tar, { XZ_OPT: '-6 -T1' })
  rmSync(release, { recursive: true })

  for (const file of partFiles()) rmSync(file)
  const { size } = statSync(archive)
  const most = Math.floor(up - treeBytes() - MiB / 2) // of a part, beside what else a call brings
  if (most < MiB)
    throw new Error(
      `the checkout takes ${mib(treeBytes())} MiB of ${values.up}: --tree 0 if it is brought apart`,
    )
  const count = Math.ceil(size / most)
  const bytes = readFileSync(archive)
  for (let i = 0; i < count; i++) {
    const file = openSync(`${folder}/part.${i + 1}-of-${count}`, 'w')
    writeSync(file, bytes.subarray(i * most, (i + 1) * most))
    closeSync(file)
  }
  rmSync(archive)
}

const mib = (bytes) => (bytes / MiB).toFixed(1)

function plan() {
  const files = partFiles()
  if (files.length === 0) throw new Error('nothing is packed: scripts/gpu-check.sh pack')
  const tree = treeBytes()
  const check = (part) => `scripts/gpu-check.sh --part ${part} --minutes ${values.minutes}`
  const calls = files.map((file) => ({
    file,
    bytes: tree + statSync(file).size,
    command: 'scripts/gpu-check.sh unpack',
  }))
  calls.at(-1).command += ` && ${check(checks[0])}`
  for (const part of checks.slice(1)) calls.push({ file: '', bytes: tree, command: check(part) })
  console.log('call  MiB up  brings beside the checkout        runs there')
  for (const [i, { file, bytes, command }] of calls.entries()) {
    const over = bytes > up ? `  MORE THAN ${values.up}` : ''
    console.log(
      `${String(i + 1).padStart(4)}  ${mib(bytes).padStart(6)}  ${file.padEnd(32)}  ${command}${over}`,
    )
  }
  console.log(
    `Each call takes ${values.minutes} minutes at most and leaves at most 5 files in --out or $OUT. What is unpacked has to\n` +
      'be there in later calls: on a machine that forgets it between calls, make one call of those that belong together.',
  )
}

try {
  if (positionals[0] === 'pack') pack()
  plan()
} catch ({ message }) {
  console.error(message)
  process.exit(1)
}
