import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll } from 'vitest'

const made: string[] = []
// Here and not at the first folder: hooks count only while the tests of a file are collected.
afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A new folder, removed when the test file ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'moe-native-'))
  made.push(dir)
  return dir
}

/** A copy of a checkpoint folder without its golden results. */
export function copyCheckpoint(from: string): string {
  const dir = path.join(temporaryFolder(), 'checkpoint')
  mkdirSync(dir)
  cpSync(from, dir, {
    recursive: true,
    filter: (file) => !path.basename(file).startsWith('golden'),
  })
  return dir
}

export function editJson(file: string, edit: (json: any) => void): void {
  const json = JSON.parse(readFileSync(file, 'utf8'))
  edit(json)
  writeFileSync(file, JSON.stringify(json))
}

export interface StoredTensor {
  dtype: string
  shape: number[]
  data: Uint8Array
}

/** The tensors of a safetensors file as stored. */
export function readStored(file: string): Map<string, StoredTensor> {
  const bytes = readFileSync(file)
  const headerBytes = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString())
  const tensors = new Map<string, StoredTensor>()
  for (const [name, entry] of Object.entries<any>(header)) {
    if (name === '__metadata__') continue
    const [begin, end] = entry.data_offsets
    tensors.set(name, {
      dtype: entry.dtype,
      shape: entry.shape,
      data: bytes.subarray(8 + headerBytes + begin, 8 + headerBytes + end),
    })
  }
  return tensors
}

/** A safetensors file; `header` may change what it says. */
export function writeStored(
  file: string,
  tensors: Map<string, StoredTensor>,
  header = (h: any) => h,
): void {
  let at = 0
  const entries: Record<string, unknown> = {}
  for (const [name, { dtype, shape, data }] of tensors) {
    entries[name] = { dtype, shape, data_offsets: [at, at + data.length] }
    at += data.length
  }
  const changed = header(entries)
  const text = Buffer.from(typeof changed === 'string' ? changed : JSON.stringify(changed))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([length, text, ...[...tensors.values()].map((t) => t.data)]))
}

/** The error that a promise or a call ends with. */
export async function failure(run: () => unknown): Promise<any> {
  try {
    await run()
  } catch (error) {
    return error
  }
  throw new Error('expected a failure, got none')
}
