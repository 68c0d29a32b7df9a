// One self-contained page from what `moe-native bench --json` printed:
//   node bench/report.mjs RESULT.jsonl… > report.html
// A chart for each op: the share of the roofline that it reaches, by tokens; then all numbers.
import { readFileSync } from 'node:fs'

const reports = process.argv.slice(2).map((file) => {
  const [head, ...results] = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return { ...head, results }
})
if (reports.length === 0) {
  console.error('usage: node bench/report.mjs RESULT.jsonl… > report.html')
  process.exit(2)
}

const safe = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const [width, height, left, bottom, top, right] = [460, 250, 44, 34, 12, 12]
const colours = [
  '#2f6fd0',
  '#d0572f',
  '#2f9e60',
  '#8a4fc0',
  '#b8860b',
  '#c0397a',
  '#3aa0b0',
  '#606c80',
]

/** A line for each model, shape and routing over log2 of the tokens. */
function chart(results) {
  const tokens = [...new Set(results.map((r) => r.tokens))].sort((a, b) => a - b)
  const most = Math.max(1.05, ...results.map((r) => r.share))
  const [low, high] = [Math.log2(tokens[0]), Math.log2(tokens.at(-1))]
  const x = (t) => left + ((Math.log2(t) - low) / (high - low || 1)) * (width - left - right)
  const y = (share) => height - bottom - (share / most) * (height - bottom - top)
  const key = ({ model, shape, routing = '' }) => `${model} ${shape} ${routing}`.trim()
  const series = Map.groupBy ? Map.groupBy(results, key) : groupBy(results, key)
  const grid = [0, 0.25, 0.5, 0.75, 1].map(
    (share) =>
      `<line x1="${left}" x2="${width - right}" y1="${y(share)}" y2="${y(share)}" class="${share === 1 ? 'roof' : 'grid'}"/>` +
      `<text x="${left - 6}" y="${y(share) + 4}" class="y">${100 * share} %</text>`,
  )
  const ticks = tokens.map(
    (t) => `<text x="${x(t)}" y="${height - bottom + 16}" class="x">${t}</text>`,
  )
  const lines = [...series].map(([name, points], i) => {
    const sorted = points.sort((a, b) => a.tokens - b.tokens)
    const colour = colours[i % colours.length]
    const dots = sorted.map(
      (r) =>
        `<circle cx="${x(r.tokens)}" cy="${y(r.share)}" r="3" fill="${colour}"><title>${safe(name)}, ${r.tokens} tokens: ` +
        `${(1e6 * r.seconds).toFixed(1)} µs, ${(100 * r.share).toFixed(0)} % of ${r.bound}</title></circle>`,
    )
    const path = sorted.map((r, j) => `${j ? 'L' : 'M'}${x(r.tokens)} ${y(r.share)}`).join('')
    return `<path d="${path}" stroke="${colour}" class="line"/>${dots.join('')}`
  })
  const legend = [...series.keys()].map(
    (name, i) => `<li><i style="background:${colours[i % colours.length]}"></i>${safe(name)}</li>`,
  )
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img">${grid.join('')}${ticks.join('')}${lines.join('')}` +
    `<text x="${(left + width) / 2}" y="${height - 4}" class="x">tokens</text></svg><ul>${legend.join('')}</ul>`
  )
}

function groupBy(list, key) {
  const groups = new Map()
  for (const item of list) groups.set(key(item), [...(groups.get(key(item)) ?? []), item])
  return groups
}

function section({ date, device, dtype, ceilings, results }) {
  const ops = [...new Set(results.map((r) => r.op))]
  const charts = ops.map(
    (op) =>
      `<figure><figcaption>${safe(op)}</figcaption>${chart(results.filter((r) => r.op === op))}</figure>`,
  )
  const rows = results.map((r) => {
    const cells = [
      ...[r.op, r.model, r.shape, r.tokens, r.routing ?? ''],
      ...[(1e6 * r.seconds).toFixed(1), `${(1e6 * r.min).toFixed(1)}–${(1e6 * r.max).toFixed(1)}`],
      ...[(r.bytesPerSecond / 1e9).toFixed(1), (r.flopsPerSecond / 1e9).toFixed(0)],
      `${(100 * r.share).toFixed(0)} % of ${r.bound}`,
    ]
    return `<tr>${cells.map((cell) => `<td>${safe(cell)}</td>`).join('')}</tr>`
  })
  const head = [
    'op',
    'model',
    'shape',
    'tokens',
    'routing',
    'µs',
    'spread',
    'GB/s',
    'GFLOP/s',
    'roofline',
  ]
  return `<h2>${safe(device.name)}, ${safe(dtype)}, ${safe(date.slice(0, 10))}</h2>
<p>In the same run: read ${(ceilings.read / 1e9).toFixed(1)} GB/s, copy ${(ceilings.copy / 1e9).toFixed(1)} GB/s, matrix
${(ceilings.matrix / 1e9).toFixed(0)} GFLOP/s, an op that does nothing ${(1e6 * ceilings.empty).toFixed(2)} µs.
Only useful bytes and operations count.</p>
<div class="charts">${charts.join('')}</div>
<table><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr>${rows.join('')}</table>`
}

console.log(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>moe-native: kernels against the roofline</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1c2430}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:24px}figure{margin:0}figcaption{font-weight:600}
svg{width:100%}.grid{stroke:#dde2ea}.roof{stroke:#1c2430;stroke-dasharray:4 3}.line{fill:none;stroke-width:2}
text{font-size:11px;fill:#58637a}.x{text-anchor:middle}.y{text-anchor:end}ul{list-style:none;padding:0;font-size:12px;columns:2}
i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
table{border-collapse:collapse;font-size:12px;width:100%}td,th{text-align:left;padding:2px 8px;border-bottom:1px solid #e6e9ef}</style>
<h1>Kernels against the roofline</h1>
${reports.map(section).join('\n')}
</html>`)
