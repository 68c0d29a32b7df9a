// Greedy tokens of the trained checkpoints against the golden ones, with nothing but the package and node.
//   node scripts/check_greedy.mjs PACKAGE FIXTURES [FILE for what it says]
import { appendFileSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [root, fixtures, out] = process.argv.slice(2).map((p) => path.resolve(p))
const say = (line) => (out ? appendFileSync(out, `${line}\n`) : console.log(line))
const { loadModel } = await import(pathToFileURL(path.join(root, 'dist/index.js')).href)

function goldenIds(file, name) {
  const bytes = readFileSync(file)
  const header = Number(bytes.readBigUInt64LE(0))
  const [begin, end] = JSON.parse(bytes.subarray(8, 8 + header).toString())[name].data_offsets
  return Array.from({ length: (end - begin) / 8 }, (_, i) =>
    Number(bytes.readBigInt64LE(8 + header + begin + 8 * i)),
  )
}

for (const name of ['moepp-tiny', 'yuan-tiny', 'mixtral-tiny']) {
  const golden = path.join(fixtures, name, 'golden.safetensors')
  const want = goldenIds(golden, 'generate.tokens')
  const model = await loadModel(path.join(root, 'demo', name), { device: 'cpu', maxTokens: 256 })
  const prompt = goldenIds(golden, 'generate.input_ids')
  const { ids } = await model.generate(prompt, { maxNewTokens: want.length, stopIds: [] })
  const equal = ids.join() === want.join()
  say(
    `${name} on ${process.platform}-${process.arch} (${model.device.isa}): ${equal ? 'equal' : 'DIFFERENT'}`,
  )
  if (!equal) process.exitCode = 1
  await model.dispose()
}
