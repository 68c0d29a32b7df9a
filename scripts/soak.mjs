#!/usr/bin/env node
// Mixed traffic with random cancels on the demo models. In the last fifth memory, open files, threads and handles must be
// as they were in the second, and results equal to those of a fresh model.
//   node scripts/soak.mjs [--minutes 60] [--clients 4] [--seed 1] [--device cpu] [--threads N]
// Needs `npm run build`. Ends with 1 when something has grown or changed.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import v8 from 'node:v8'
import vm from 'node:vm'
import { loadModel } from '../dist/index.js'
import { Random } from '../test/fuzz/mutate.mjs'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    clients: { type: 'string', default: '4' },
    seed: { type: 'string', default: '1' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
  },
})
const root = path.resolve(import.meta.dirname, '..')
const names = ['moepp-tiny', 'yuan-tiny', 'mixtral-tiny']
const options = {
  device: values.device,
  maxTokens: 2048,
  ...(values.threads && { threads: Number(values.threads) }),
}
const load = (name) => loadModel(path.join(root, 'demo', name), options)
v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc')

const prompts = [
  'ROMEO:\nWhat say you',
  'KING:',
  'To be, or not to be, '.repeat(9),
  'é∞ 𝄞\n\n',
  'a',
]
const counts = {}
const count = (what) => {
  counts[what] = (counts[what] ?? 0) + 1
}

/** Runs `call` with a signal; one in three is aborted after up to 300 ms. */
async function maybeCancelled(random, call) {
  const stop = new AbortController()
  const cancelled = random.rarely(3)
  const timer = cancelled && setTimeout(() => stop.abort(new Error('left')), random.below(300))
  try {
    await call(stop.signal)
    count('ended')
  } catch (error) {
    if (error.message !== 'left') throw error
    count('cancelled')
  } finally {
    clearTimeout(timer)
  }
}

const sampling = (random) => ({
  temperature: random.of([0, 0.7, 1.3]),
  topK: random.of([0, 1, 40]),
  topP: random.of([0.5, 1]),
  repetitionPenalty: random.of([1, 1.2]),
  seed: random.below(1000),
  maxNewTokens: 1 + random.below(60),
  ...(random.rarely(4) && { logprobs: random.below(5) }),
  ...(random.rarely(4) && { routing: true }),
  ...(random.rarely(4) && { stop: ['\n', 'the'] }),
})

async function generate(model, random) {
  await maybeCancelled(random, (signal) =>
    model.generate(random.of(prompts), { ...sampling(random), signal }),
  )
}

/** A reader of a stream who goes away. */
async function leave(model, random) {
  let left = random.below(20)
  for await (const _ of model.generate(random.of(prompts), sampling(random)))
    if (left-- === 0) break
  count('left')
}

async function converse(model, random) {
  const sequence = model.sequence()
  const others = []
  try {
    for (let turn = 1 + random.below(4); turn > 0; turn--) {
      const ids = Array.from({ length: 1 + random.below(40) }, () => 5 + random.below(2000))
      await maybeCancelled(random, (signal) =>
        random.rarely(2)
          ? sequence.forward(ids, { signal })
          : sequence.generate(ids, { ...sampling(random), signal }),
      )
      if (random.rarely(3)) others.push(sequence.fork())
      if (random.rarely(3)) sequence.truncate(random.below(sequence.length + 1))
    }
    await Promise.all(
      others.map((other) => maybeCancelled(random, (signal) => other.forward([7], { signal }))),
    )
  } finally {
    for (const one of [sequence, ...others]) one.dispose()
  }
  count('conversations')
}

/** A model that is loaded, perhaps not to the end, and disposed. */
async function reload(_, random) {
  const stop = new AbortController()
  if (random.rarely(2)) setTimeout(() => stop.abort(new Error('left')), random.below(40))
  const dir = path.join(root, 'demo', random.of(names))
  const model = await loadModel(dir, { ...options, maxTokens: 256, signal: stop.signal }).catch(
    (error) => {
      if (error.message !== 'left') throw error
    },
  )
  const running = model?.generate('KING:', { maxNewTokens: 20 })
  running?.catch(() => {})
  if (random.rarely(2)) await sleep(random.below(30))
  await model?.dispose()
  count('loads')
}

/** What every model says to fixed prompts, whoever else is in the same steps. */
async function fixedResults(models) {
  const asked = Object.entries(models).flatMap(([name, model]) =>
    [{ temperature: 0 }, { temperature: 0.9, topP: 0.9, seed: 7 }].map(async (how, i) => {
      const { ids } = await model.generate(prompts[i], { ...how, maxNewTokens: 40 })
      return [`${name} ${i}`, ids.join(' ')]
    }),
  )
  return JSON.stringify(await Promise.all(asked))
}

async function measure() {
  for (let i = 0; i < 3; i++) {
    collect()
    await sleep(50) // what was collected is finalized
  }
  const status = readFileSync('/proc/self/status', 'utf8')
  const number = (key) => Number(new RegExp(`${key}:\\s*(\\d+)`).exec(status)[1])
  return {
    residentMiB: Math.round(number('VmRSS') / 1024),
    heapMiB: Math.round(process.memoryUsage().heapUsed / 2 ** 20),
    files: readdirSync('/proc/self/fd').length,
    threads: number('Threads'),
    handles: process.getActiveResourcesInfo().filter((kind) => kind !== 'Timeout').length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split('\n').length,
  }
}

const models = Object.fromEntries(
  await Promise.all(names.map(async (name) => [name, await load(name)])),
)
const expected = await fixedResults(models)
// Before anything is counted: printing opens handles, too.
console.log(`soak: ${values.minutes} min of ${names.join(', ')}`)
const started = performance.now()
const lasts = Number(values.minutes) * 60_000
const rounds = 20
let failed = false
const measured = []

/** Memory breathes with what is loading; what has grown is more at its least than it was at its most. */
const bound = (of, some) =>
  Object.fromEntries(
    Object.keys(some[0]).map((what) => [what, of(...some.map((one) => one[what]))]),
  )

async function client(random, until) {
  while (performance.now() < until) {
    const call = random.of([generate, generate, generate, leave, converse, converse, reload])
    await call(models[random.of(names)], random)
    if (random.rarely(20)) {
      count('comparisons')
      if ((await fixedResults(models)) !== expected)
        throw new Error('results changed under traffic')
    }
    await sleep(random.below(20))
  }
}

for (let round = 1; round <= rounds; round++) {
  const until = started + (lasts * round) / rounds
  const clients = Array.from({ length: Number(values.clients) }, (_, i) =>
    client(new Random(Number(values.seed) * 1000 + round * 50 + i), until),
  )
  await Promise.all(clients)
  await sleep(200) // what has ended lets its handles go
  measured.push(await measure())
  if (round % 4 !== 0) continue
  const minutes = ((performance.now() - started) / 60_000).toFixed(1)
  console.log(`${minutes} min`, JSON.stringify(bound(Math.min, measured.slice(-4))))
}

const first = bound(Math.max, measured.slice(4, 8))
const last = bound(Math.min, measured.slice(-4))
const allowed = { residentMiB: 32, heapMiB: 8, files: 0, threads: 0, handles: 0, mappings: 40 }
for (const [what, more] of Object.entries(allowed)) {
  if (last[what] <= first[what] + more) continue
  failed = true
  console.error(`soak: ${what} must stay at most ${first[what]} + ${more}, got ${last[what]}`)
}
const fresh = Object.fromEntries(
  await Promise.all(names.map(async (name) => [name, await load(name)])),
)
for (const [which, one] of Object.entries({ models, fresh })) {
  if ((await fixedResults(one)) === expected) continue
  failed = true
  console.error(`soak: results of ${which} must be those of the start, got others`)
}
for (const model of [...Object.values(models), ...Object.values(fresh)]) await model.dispose()
console.log(
  `soak: ${((performance.now() - started) / 60_000).toFixed(1)} min`,
  JSON.stringify(counts),
)
process.exitCode = failed ? 1 : 0
