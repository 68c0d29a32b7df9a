// Ours against theirs, side by side: times of the same products at the same shapes and routings, and their ratios.
//   node bench/peers/torch/compare.mjs OURS.jsonl THEIRS.json
// OURS: moe-native bench groupedGemm --json. THEIRS: run.py --json.
import { readFileSync } from 'node:fs'

const [oursFile, theirsFile] = process.argv.slice(2)
if (!theirsFile) {
  console.error('usage: node bench/peers/torch/compare.mjs OURS.jsonl THEIRS.json')
  process.exit(2)
}
const [ours, ...results] = readFileSync(oursFile, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
const theirs = JSON.parse(readFileSync(theirsFile, 'utf8'))
const products = results.filter(({ op }) => op === 'groupedGemm')
const of = (name, { model, tokens, routing }) =>
  products.find(
    (r) =>
      r.shape.endsWith(name) && r.model === model && r.tokens === tokens && r.routing === routing,
  )?.seconds
console.log(
  `ours on ${ours.device.name}, theirs on ${theirs.device.name} with PyTorch ${theirs.torch}`,
)
for (const [name, why] of Object.entries(theirs.missing)) console.log(`missing: ${name}: ${why}`)
for (const peer of theirs.results) {
  const gateUp = of('gate_up', peer)
  const down = of('down', peer)
  const seconds = peer.op === 'gate_up' ? gateUp : gateUp && down && gateUp + down
  if (!seconds) continue
  const cells = [
    ...[peer.backend.padEnd(28), peer.op.padEnd(8), peer.model.padEnd(8)],
    ...[String(peer.tokens).padStart(6), peer.routing.padEnd(8)],
    ...[`ours ${(1e6 * seconds).toFixed(1)} µs`, `theirs ${(1e6 * peer.seconds).toFixed(1)} µs`],
  ]
  console.log(`${cells.join(' ')} ratio ${(peer.seconds / seconds).toFixed(2)}`)
}
