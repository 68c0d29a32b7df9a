// The tables of times in docs/kernels.md, from the newest kernels-cpu.json of bench/results.
//   node bench/kernel_tables.mjs            write them
//   node bench/kernel_tables.mjs --check    fail where they are others
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'

const results = new URL('results/', import.meta.url)
const page = new URL('../docs/kernels.md', import.meta.url)
const named = {
  yuan: 'Yuan 2.0-M32',
  moepp: 'MoE++ 7B',
  mixtral: 'Mixtral 8x7B',
  deepseek: 'DeepSeek-V2-Lite',
}
const columns = [1, 8, 512]

const newest = readdirSync(results)
  .filter((folder) => existsSync(new URL(`${folder}/kernels-cpu.json`, results)))
  .sort()
  .at(-1)
const [machine, ...measured] = readFileSync(new URL(`${newest}/kernels-cpu.json`, results), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))

function time(seconds) {
  const [factor, unit] = seconds < 1e-6 ? [1e9, 'ns'] : seconds < 1e-3 ? [1e6, 'µs'] : [1e3, 'ms']
  return `${Number((seconds * factor).toPrecision(2))} ${unit}`
}
const cell = (result) =>
  result
    ? `${time(result.seconds)} (${Math.round(100 * result.share)} % ${result.bound === 'read' ? 'read' : 'matrix'})`
    : ''

/** The benchmark of one kernel: at Yuan's sizes, or at those of the first model that has it; nothing where none has. */
function table(op) {
  const all = measured.filter((result) => result.op === op)
  const model = all.some((result) => result.model === 'yuan') ? 'yuan' : all[0]?.model
  if (!model) return '' // younger than the measurement
  const shapes = new Map()
  for (const result of all.filter((one) => one.model === model))
    shapes.set(result.shape, { ...shapes.get(result.shape), [result.tokens]: result })
  const lines = [
    `| ${named[model]} | ${columns.map((n) => (n === 1 ? '1 token' : `${n} tokens`)).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(columns.length)}`,
    ...[...shapes].map(
      ([shape, at]) => `| ${shape} | ${columns.map((n) => cell(at[n])).join(' | ')} |`,
    ),
  ]
  return `${lines.join('\n')}\n`
}

const gb = (bytes) => `${(bytes / 1e9).toFixed(0)} GB/s`
const limits = `Two cores of ${machine.device.name} (${machine.device.isa}) on ${newest.slice(0, 10)}, ${machine.dtype} weights and activations; it read ${gb(machine.ceilings.read)} and multiplied ${(machine.ceilings.matrix / 1e9).toFixed(0)} GFLOP/s.`
const text = readFileSync(page, 'utf8')
const whole = text
  .replace(/(<!-- limits -->\n)[\s\S]*?\n\n/, (_, mark) => `${mark}${limits}\n\n`)
  .replace(/(<!-- times: (\w+) -->\n)(?:\|.*\n)*/g, (_, mark, op) => `${mark}${table(op)}`)
if (!process.argv.includes('--check')) writeFileSync(page, whole)
else if (whole !== text)
  throw new Error('docs/kernels.md is not what was measured: node bench/kernel_tables.mjs')
