#!/usr/bin/env node
// Short requests of every kind against `moe-native serve`: whole, streamed, left early, wrong. At the end the server's
// memory and open files must be as they were after the first fifth, and no block of the cache in use.
//   node scripts/soak_server.mjs [--requests 10000] [--clients 16] [--seed 1] [--json]
// Needs `npm run build` and Linux. Ends with 1 when something has grown.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Random } from '../test/fuzz/mutate.mjs'

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    clients: { type: 'string', default: '16' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean' },
  },
})
const requests = Number(values.requests)
const cli = path.resolve(import.meta.dirname, '../dist/cli/main.js')
const args = [cli, 'serve', '--port', '0', '--max-tokens', '4096', '--threads', '1']
const server = spawn(process.execPath, args, {
  stdio: ['ignore', 'pipe', 'inherit'],
})
const [line] = await once(server.stdout.setEncoding('utf8'), 'data')
const url = /http:\/\/\S+/.exec(line)[0]

const counts = {}
const count = (what) => {
  counts[what] = (counts[what] ?? 0) + 1
}
const random = new Random(Number(values.seed))

async function one() {
  const kind = ['whole', 'streamed', 'left', 'wrong', 'whole', 'streamed'][random.below(6)]
  const abort = new AbortController()
  const body = {
    ...{ max_tokens: 1 + random.below(8), stream: kind === 'streamed' || kind === 'left' },
    ...{ messages: [{ role: 'user', content: `Speak ${random.below(1e6)}.` }] },
    ...(kind === 'wrong' && { temperature: -1 }),
    ...(random.rarely(4) && { logprobs: true, top_logprobs: 2, routing: true }),
  }
  try {
    const response = await fetch(`${url}/v1/chat/completions`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
      ...{ body: JSON.stringify(body), signal: abort.signal },
    })
    if (kind === 'left') abort.abort()
    await response.text()
    count(response.status)
  } catch (error) {
    if (error.name !== 'AbortError') throw error
    count('left')
  }
}

async function many(n) {
  let left = n
  const client = async () => {
    while (left-- > 0) await one()
  }
  await Promise.all(Array.from({ length: Number(values.clients) }, client))
}

/** The server's memory and open files once its connections are gone. */
async function measure() {
  await sleep(8000) // longer than an idle connection is kept
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
  return {
    rssMiB: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024),
    files: readdirSync(`/proc/${server.pid}/fd`).length,
    threads: Number(/Threads:\s+(\d+)/.exec(status)[1]),
  }
}

const started = performance.now()
await many(requests / 5)
const early = await measure()
await many((4 * requests) / 5)
const late = await measure()
const stats = await (await fetch(`${url}/v1/stats`)).json()
server.kill('SIGTERM')
const [code] = await once(server, 'exit')
const seconds = Math.round((performance.now() - started) / 1000)
const { running, waiting, cache_usage } = stats
const result = { requests, seconds, counts, early, late, running, waiting, cache_usage, code }
console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 2))
const flat =
  late.files <= early.files &&
  late.threads <= early.threads &&
  late.rssMiB <= early.rssMiB + 24 &&
  running + waiting + cache_usage + code === 0
if (!flat) {
  console.error('something has grown')
  process.exitCode = 1
}
