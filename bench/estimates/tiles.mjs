// How much of a grouped GEMM's time is useful, by how rows are cut into tiles: a model of the schedule, no
// measurement. A tile costs as many rows as its width, at least 48 (its weights have to come) and 16 more (its
// start and end); blocks take tiles in turn unless said. cuda/gemm_warpgroup.cu has the last way.
//   node bench/estimates/tiles.mjs [--multiprocessors 132]
import { parseArgs } from 'node:util'
import { randomNumbers } from '../../build/modules/bench/shapes.js'

const { values } = parseArgs({ options: { multiprocessors: { type: 'string', default: '132' } } })
const multiprocessors = Number(values.multiprocessors)
const most = 256
const steps = (step) => Array.from({ length: most / step }, (_, i) => step * (i + 1))
const doubling = [16, 32, 64, 128, 256]

/** Rows of a group's tiles: the most at a time, or as equal as widths allow. */
const greedy = (count) => Array.from({ length: Math.ceil(count / most) }, () => most)
const even = (step) => (count) => {
  const tiles = Math.ceil(count / most)
  return Array.from({ length: tiles }, () => Math.ceil(count / tiles / step) * step)
}
const ways = {
  'greedy, doubling': { cut: greedy, widths: doubling },
  'even, 32': { cut: even(32), widths: steps(32) },
  'even, 16': { cut: even(16), widths: steps(16) },
  'even, 32, largest group first': { cut: even(32), widths: steps(32), sorted: true },
  'even, 32, whoever is free': { cut: even(32), widths: steps(32), free: true },
}

/** [experts, output rows, rows a token] */
const shapes = {
  'Yuan gate_up': [32, 16384, 2],
  'Yuan down': [32, 2048, 2],
  'MoE++ gate_up': [16, 8192, 1.5],
  'MoE++ down': [16, 1536, 1.5],
  'Mixtral gate_up': [8, 28672, 2],
  'Mixtral down': [8, 4096, 2],
}

function useful([experts, outputs, perToken], tokens, { cut, widths, sorted, free }, random) {
  const counts = new Array(experts).fill(0)
  for (let i = 0; i < tokens * perToken; i++) counts[Math.floor(random() * experts)]++
  if (sorted) counts.sort((a, b) => b - a)
  const busy = new Array(multiprocessors).fill(0)
  let [next, rows] = [0, 0]
  for (const count of counts)
    for (let band = 0; band < outputs / 128; band++) {
      let left = count
      for (const height of cut(count)) {
        const own = Math.min(height, left)
        left -= own
        rows += own
        const at = free ? busy.indexOf(Math.min(...busy)) : next++ % multiprocessors
        busy[at] += Math.max(widths.find((width) => width >= own) ?? most, 48) + 16
      }
    }
  return rows / (multiprocessors * Math.max(...busy))
}

for (const tokens of [1024, 4096])
  for (const [name, shape] of Object.entries(shapes)) {
    const cells = Object.entries(ways).map(([way, how]) => {
      const random = randomNumbers(1)
      const shares = Array.from({ length: 10 }, () => useful(shape, tokens, how, random))
      return `${way} ${(shares.reduce((a, b) => a + b) / shares.length).toFixed(2)}`
    })
    console.log(`${name}, ${tokens} tokens: ${cells.join('; ')}`)
  }
