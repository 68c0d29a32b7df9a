// How late a 5 ms timer is at worst while a long prompt is processed: the JavaScript thread must stay free.
//   node bench/event_loop.mjs [--tokens 8000] [--json]
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadModel } from '../dist/index.js'

const { values } = parseArgs({
  options: { tokens: { type: 'string', default: '8000' }, json: { type: 'boolean' } },
})
const tokens = Number(values.tokens)
const dir = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../demo/yuan-tiny')
const period = 5

const model = await loadModel(dir, { device: 'cpu', maxTokens: tokens })
const ids = Array.from({ length: tokens }, (_, i) => (i * 7) % 2000)

function watch() {
  const late = []
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    late.push(Math.max(0, now - last - period))
    last = now
  }, period)
  return () => {
    clearInterval(timer)
    late.sort((a, b) => a - b)
    return { ticks: late.length, medianMs: late[late.length >> 1], worstMs: late.at(-1) }
  }
}

let stop = watch()
const started = performance.now()
await model.forward(ids)
const busy = { seconds: (performance.now() - started) / 1000, ...stop() }
stop = watch()
await new Promise((resolve) => setTimeout(resolve, 2000))
const result = { tokens, threads: model.device.threads, busy, idle: stop() }
await model.dispose()
console.log(values.json ? JSON.stringify(result) : result)
