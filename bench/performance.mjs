// The table and the chart of docs/performance.md, from what the peer's runs printed.
//   node bench/performance.mjs            write both
//   node bench/performance.mjs --check    fail where they are not those of the measurements
import { readFileSync, writeFileSync } from 'node:fs'

const results = new URL('results/2026-11-27-zen4/', import.meta.url)
const page = new URL('../docs/performance.md', import.meta.url)
const picture = new URL('../docs/pictures/performance.svg', import.meta.url)

const runs = [
  ['OLMoE, bf16', 'node-llama-cpp-olmoe'],
  ['OLMoE, int8 : q8_0', 'node-llama-cpp-olmoe-int8'],
  ['OLMoE, int4 : q4_0', 'node-llama-cpp-olmoe-int4'],
  ['Qwen3-30B-A3B, bf16', 'node-llama-cpp-qwen3'],
  ['Qwen3-30B-A3B, int8 : q8_0', 'node-llama-cpp-qwen3-int8'],
  ['Qwen3-30B-A3B, int4 : q4_0', 'node-llama-cpp-qwen3-int4'],
  ['B, int8 : q8_0', 'node-llama-cpp-B-int8'],
  ['B, int4 : q4_0', 'node-llama-cpp-B-int4'],
].map(([name, file]) => ({
  name,
  ...JSON.parse(readFileSync(new URL(`${file}.json`, results), 'utf8')),
}))

const cell = ({ ours, peer, ratio, min, max }) =>
  `${ours.toFixed(0)} / ${peer.toFixed(0)} = **${ratio.toFixed(2)}** [${min.toFixed(2)}..${max.toFixed(2)}]`
const table = [
  '| model, weights | prefill of 512 tokens | decode, 1 text | decode, 8 texts |',
  '| --- | --- | --- | --- |',
  ...runs.map(
    ({ name, results }) => `| ${name} | ${Object.values(results).map(cell).join(' | ')} |`,
  ),
].join('\n')

const [unit, bar, group] = [112, 15, 76]
const height = 44 + runs.length * group
const kinds = ['prefill', 'decode, 1 text', 'decode, 8 texts']
const bars = runs.flatMap(({ name, results }, i) => {
  const y = 60 + i * group
  return [
    `<text x="0" y="${y - 6}" class="name">${name}</text>`,
    ...Object.values(results).map(({ ratio }, k) => {
      const width = Math.round(unit * ratio)
      return (
        `<rect x="0" y="${y + k * bar}" width="${width}" height="${bar - 2}" class="k${k}"/>` +
        `<text x="${width + 6}" y="${y + k * bar + 11}">${ratio.toFixed(2)}</text>`
      )
    }),
  ]
})
const svg = [
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 ${height}" font-family="system-ui, sans-serif" font-size="12">`,
  '<title>Times as fast as node-llama-cpp</title>',
  '<style>text{fill:#1c2430}.name{font-size:13px;font-weight:600}.k0{fill:#2f6fd0}.k1{fill:#d98a1f}.k2{fill:#2c9a72}.one{stroke:#8a94a6;stroke-dasharray:4 3}' +
    '@media (prefers-color-scheme:dark){text{fill:#dfe3ea}.k0{fill:#6ea3f0}.k1{fill:#e5a54b}.k2{fill:#4dbb92}}</style>',
  ...kinds.map(
    (kind, k) =>
      `<rect x="${k * 120}" y="6" width="12" height="12" class="k${k}"/><text x="${k * 120 + 18}" y="16">${kind}</text>`,
  ),
  `<path d="M${unit} 50V${height}" class="one"/><text x="${unit + 210}" y="34">1 (dashed): node-llama-cpp</text>`,
  ...bars,
  '</svg>',
  '',
].join('\n')

const text = readFileSync(page, 'utf8')
const whole = text.replace(/\| model, weights[\s\S]*?\n\n/, `${table}\n\n`)
if (process.argv.includes('--check')) {
  if (whole !== text || readFileSync(picture, 'utf8') !== svg)
    throw new Error('docs/performance.md is not what was measured: node bench/performance.mjs')
} else {
  writeFileSync(page, whole)
  writeFileSync(picture, svg)
}
