// What the targets of readers share: seeds, a folder, and what holds of a file's tensors.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export const root = path.resolve(import.meta.dirname, '../../..')
export const read = (file) => readFileSync(path.join(root, 'test', file))
export const json = (file) => JSON.parse(read(file).toString())

// In memory where that is: each input is a file.
export const folder = mkdtempSync(
  path.join(existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), 'moe-fuzz-'),
)
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
export const inFolder = (...names) => path.join(folder, ...names)

/** A folder of that name in it. */
export function madeFolder(name) {
  const dir = inFolder(name)
  mkdirSync(dir, { recursive: true })
  return dir
}

/** A safetensors file of these header bytes. */
export function stored(header, data, length = BigInt(header.length)) {
  const start = Buffer.alloc(8)
  start.writeBigUInt64LE(BigInt.asUintN(64, length))
  return Buffer.concat([start, header, data])
}

/** Entries lie in their file, and their bytes can be read. */
export function checkEntries(entries) {
  for (const entry of entries.values()) {
    assert(
      entry.offset >= 8 && entry.offset + entry.bytes <= entry.file.bytes,
      'an entry in its file',
    )
    const count = entry.shape.reduce((n, dim) => n * dim, 1)
    assert(Number.isSafeInteger(count) && count <= entry.bytes, 'a shape of its bytes')
    if (entry.bytes > 0) entry.file.read(entry.offset + entry.bytes - 1, 1)
  }
}
