// Loading a checkpoint against its bound: reading the file once and writing its bytes to fresh memory once,
// each with all threads, in processes of their own. (In a virtual machine fresh memory may first have to come
// from the host, which then is most of both.)
//   node bench/load.mjs [--shape A] [--dtype bf16] [--rounds 5] [--json]
import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { native } from '../build/modules/native.js'
import { loadModel } from '../dist/index.js'
import { shapes, writeCheckpoint } from './checkpoint.mjs'

const here = fileURLToPath(import.meta.url)

/** Seconds to read `length` bytes from `begin` on through a small buffer. */
function readPart({ file, begin, length }) {
  const buffer = Buffer.alloc(1 << 20)
  const fd = openSync(file, 'r')
  const started = performance.now()
  for (let at = begin; at < begin + length; at += buffer.length)
    readSync(fd, buffer, 0, buffer.length, at)
  const seconds = (performance.now() - started) / 1000
  closeSync(fd)
  return seconds
}

const tasks = {
  async load(file, dtype) {
    native()
    const started = performance.now()
    const model = await loadModel(path.dirname(file), { device: 'cpu', dtype, maxTokens: 64 })
    const seconds = (performance.now() - started) / 1000
    await model.dispose()
    return seconds
  },
  async read(file) {
    const threads = native().cpu().threads
    const length = Math.ceil(statSync(file).size / threads)
    const parts = Array.from({ length: threads }, (_, i) => {
      const worker = new Worker(here, { workerData: { file, begin: i * length, length } })
      return new Promise((resolve) => worker.once('message', resolve))
    })
    return Math.max(...(await Promise.all(parts)))
  },
  async write(file) {
    const { work, seconds } = await native().probe('fresh', native().cpu().threads)
    return (statSync(file).size * seconds) / work
  },
}

if (!isMainThread) parentPort.postMessage(readPart(workerData))
else if (process.argv[2] in tasks)
  console.log(await tasks[process.argv[2]](...process.argv.slice(3)))
else {
  const { values } = parseArgs({
    options: {
      shape: { type: 'string', default: 'A' },
      dtype: { type: 'string', default: 'bf16' },
      rounds: { type: 'string', default: '5' },
      json: { type: 'boolean' },
    },
  })
  const folder = path.join(os.tmpdir(), `moe-native-bench-${values.shape}-${values.dtype}`)
  const file = path.join(folder, 'hf', 'model.safetensors')
  if (!existsSync(file)) writeCheckpoint(folder, shapes[values.shape], values.dtype)
  const measure = (task) =>
    Number(execFileSync(process.execPath, [here, task, file, values.dtype], { encoding: 'utf8' }))
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
  measure('read') // now it is in the page cache
  const rounds = Array.from({ length: Number(values.rounds) }, (_, round) => {
    const read = measure('read')
    const writeFirst = round % 2 ? measure('write') : undefined
    const load = measure('load')
    const write = writeFirst ?? measure('write')
    return { load, read, write, ratio: load / (read + write) }
  })
  const report = { shape: values.shape, dtype: values.dtype, fileBytes: statSync(file).size }
  for (const name of ['load', 'read', 'write', 'ratio'])
    report[name] = median(rounds.map((round) => round[name]))
  report.ratios = rounds.map(({ ratio }) => ratio).sort((a, b) => a - b)
  console.log(values.json ? JSON.stringify(report, null, 2) : report)
}
