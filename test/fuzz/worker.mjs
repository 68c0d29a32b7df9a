// Runs one reader's target: input number i is a function of the seed and i.
import { setImmediate } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { MoeError } from '../../build/modules/errors.js'
import { Random } from './mutate.mjs'
import { targets } from './readers.mjs'

// The library never prints.
let printed
for (const way of ['log', 'info', 'warn', 'error'])
  console[way] = (...all) => {
    printed ??= new Error(`printed: ${all.join(' ')}`)
  }

const { name, seed, first, end, seconds, progress } = workerData
const until = performance.now() + seconds * 1000
for (let i = first; i < end && performance.now() < until; i++) {
  progress[0] = i
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ i)
  try {
    await targets[name](random).run()
  } catch (error) {
    if (!(error instanceof MoeError)) throw error
    progress[1]++
  }
  if (printed) throw printed
  progress[0] = i + 1
  if (i % 64 === 0) await setImmediate() // lets what was collected be finalized
}
parentPort.unref()
