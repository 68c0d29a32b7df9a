// Milliseconds from the start of `moe-native generate` to its first token and to its end, with the demo model:
//   node bench/first_token.mjs [--rounds 15] [--json] [PROGRAM ...]    behind `npm run build`; each PROGRAM is a Node
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, json: { type: 'boolean' } },
  allowPositionals: true,
})
const programs = positionals.length > 0 ? positionals : [process.execPath]
const main = path.resolve(import.meta.dirname, '../dist/cli/main.js')
const args = [main, 'generate', 'ROMEO:', '--max-new-tokens', '8', '--no-display-prompt', '--quiet']

async function start(program) {
  const begin = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const end = once(child, 'close')
  await once(child.stdout, 'data')
  const first = performance.now() - begin
  await end
  return { first, whole: performance.now() - begin }
}

const runs = programs.map((program) => ({ program, times: [] }))
for (let round = 0; round < Number(values.rounds); round++)
  for (const { program, times } of runs) times.push(await start(program))

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
const results = runs.map(({ program, times }) => ({
  node: spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.trim(),
  firstMs: median(times.map(({ first }) => first)),
  leastFirstMs: Math.min(...times.map(({ first }) => first)),
  wholeMs: median(times.map(({ whole }) => whole)),
}))
if (values.json) console.log(JSON.stringify(results, null, 2))
else
  for (const { node, firstMs, leastFirstMs, wholeMs } of results)
    console.log(
      `${node}: first token after ${firstMs.toFixed(0)} ms (least ${leastFirstMs.toFixed(0)}), end after ${wholeMs.toFixed(0)} ms`,
    )
