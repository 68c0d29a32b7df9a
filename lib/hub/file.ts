import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, lstat, open, rename, rm, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { MoeError } from '../errors.ts'
import type { HubId } from '../hub_id.ts'
import { isPassing } from './failure.ts'

/** A file of a model on the hub. */
export interface RemoteFile {
  name: string
  size: number
  /** SHA-256 of its bytes, or git's SHA-1 of it as a blob. */
  hash: string
}

interface Place {
  id: HubId
  /** The model's folder in the cache. */
  store: string
  snapshot: string
  file: RemoteFile
}

/** Gives a file's bytes from a place on. */
type Source = (from: number) => Promise<AsyncIterable<Uint8Array>>

interface Watch {
  onBytes: (bytes: number) => void
  signal: AbortSignal | undefined
}

/** Failures in a row, without a byte between them. */
const mostFailures = 4

const sizeOf = (file: string): Promise<number | undefined> =>
  stat(file).then(
    ({ size }) => size,
    () => undefined,
  )

const blobOf = (store: string, { hash }: RemoteFile): string => path.join(store, 'blobs', hash)
const partOf = (store: string, file: RemoteFile): string => `${blobOf(store, file)}.incomplete`

/** Bytes that are not there yet. */
export async function missingBytes(store: string, files: readonly RemoteFile[]): Promise<number> {
  let missing = 0
  for (const file of files) {
    if ((await sizeOf(blobOf(store, file))) !== undefined) continue
    const part = (await sizeOf(partOf(store, file))) ?? 0
    missing += part > file.size ? file.size : file.size - part
  }
  return missing
}

/**
 * Adds what is missing. Each piece is written at its place, not at the end: two processes that download the same
 * file write the same bytes.
 */
async function append(
  { id, store, file }: Place,
  source: Source,
  { onBytes, signal }: Watch,
): Promise<void> {
  const part = partOf(store, file)
  const handle = await open(part, 'a').then((made) => made.close().then(() => open(part, 'r+')))
  try {
    let { size: at } = await handle.stat()
    for await (const piece of await source(at)) {
      signal?.throwIfAborted()
      if (at + piece.length > file.size)
        throw new MoeError(
          'ERR_MOE_HUB',
          `${id.name}: ${file.name} must have the ${file.size} bytes that the hub lists, got more`,
        )
      for (let done = 0; done < piece.length; )
        done += (await handle.write(piece, done, piece.length - done, at + done)).bytesWritten
      at += piece.length
      onBytes(piece.length)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function hashOf(part: string, { size, hash }: RemoteFile): Promise<string> {
  const isGit = hash.length === 40
  const sum = createHash(isGit ? 'sha1' : 'sha256')
  if (isGit) sum.update(`blob ${size}\0`)
  for await (const piece of createReadStream(part)) sum.update(piece as Buffer)
  return sum.digest('hex')
}

async function download(place: Place, source: Source, watch: Watch): Promise<void> {
  const { id, store, file } = place
  const { signal } = watch
  const [blob, part] = [blobOf(store, file), partOf(store, file)]
  if (((await sizeOf(part)) ?? 0) > file.size) await rm(part)
  for (let failures = 0; ; ) {
    if ((await sizeOf(blob)) !== undefined) return // another process was faster
    const before = await sizeOf(part)
    if (before === file.size) break
    let failed: unknown
    try {
      await append(place, source, watch)
      failed = new Error('the connection was closed')
      if ((await sizeOf(part)) === file.size) break
    } catch (error) {
      failed = error
    }
    signal?.throwIfAborted()
    failures = ((await sizeOf(part)) ?? 0) > (before ?? 0) ? 0 : failures + 1
    if (failures >= mostFailures || !isPassing(failed)) throw failed
    if (failures > 0)
      await setTimeout(250 * 2 ** failures, undefined, { ...(signal && { signal }) })
  }
  if ((await hashOf(part, file)) !== file.hash) {
    await rm(part, { force: true })
    throw new MoeError(
      'ERR_MOE_HUB',
      `${id.name}: ${file.name} must have the hash that the hub gives, got another; run it again to download it anew`,
    )
  }
  await rename(part, blob)
}

/** Puts a file of a model at its place in the snapshot; what is there already is not downloaded. */
export async function fetchFile(place: Place, source: Source, watch: Watch): Promise<void> {
  const { store, snapshot, file } = place
  const blob = blobOf(store, file)
  if ((await sizeOf(blob)) === undefined) await download(place, source, watch)
  watch.onBytes(0)
  const at = path.join(snapshot, file.name)
  if (await lstat(at).catch(() => undefined)) {
    if ((await sizeOf(at)) === file.size) return
    await rm(at) // a link to nothing
  }
  // Where links are not allowed, as on Windows, a copy stands for one.
  await symlink(path.relative(snapshot, blob), at).catch(() => copyFile(blob, at))
}
