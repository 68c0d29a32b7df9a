import { mkdir, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { MoeError, shown } from '../errors.ts'
import type { HubId } from '../hub_id.ts'
import { weightFile } from '../weights/mistakes.ts'
import {
  accessToken,
  cachedSnapshot,
  cacheFolder,
  endpoint,
  isCommit,
  isOffline,
  storeOf,
} from './cache.ts'
import { hubFailure } from './failure.ts'
import { fetchFile, missingBytes, type RemoteFile } from './file.ts'
import { type HubAccess, type HubEntry, type HubLibrary, loadLibrary } from './hub_library.ts'

/** How far a download has come. */
export interface DownloadProgress {
  /** Of all files, those included that were there before. */
  downloadedBytes: number
  totalBytes: number
  /** The file that is on its way. */
  file: string
}

export interface PullOptions {
  onProgress?: ((progress: DownloadProgress) => void) | undefined
  signal?: AbortSignal | undefined
}

/** A stream without its first bytes. */
function withoutFirst(count: number): TransformStream<Uint8Array, Uint8Array> {
  let left = count
  return new TransformStream({
    transform(piece, controller) {
      const rest = piece.subarray(Math.min(left, piece.length))
      left -= piece.length - rest.length
      if (rest.length > 0) controller.enqueue(rest)
    },
  })
}

/** Passes the signal on; a proxy that answers with a whole file where its rest was asked for is read from there. */
const fetchWith =
  (signal: AbortSignal | undefined): typeof fetch =>
  async (input, init) => {
    const response = await fetch(input, { ...init, ...(signal && { signal }) })
    const range = new Headers(init?.headers).get('range') ?? ''
    const start = Number(/^bytes=(\d+)-/.exec(range)?.[1] ?? 0)
    if (response.status !== 200 || start === 0 || !response.body) return response
    return new Response(response.body.pipeThrough(withoutFirst(start)))
  }

const bad = (name: string, what: string, got: unknown): never => {
  throw new MoeError('ERR_MOE_HUB', `${name}: ${what}, got ${shown(got)}`)
}

/** What the hub says becomes parts of paths here. */
function readEntry(name: string, { path: file, size, oid, lfs }: HubEntry): RemoteFile {
  const hash = lfs?.oid ?? oid
  if (!/^[0-9a-f]{40}$|^[0-9a-f]{64}$/.test(hash))
    bad(name, `the hub must give a hash of ${file}`, hash)
  if (!Number.isSafeInteger(size) || size < 0)
    bad(name, `the hub must give the size of ${file}`, size)
  return { name: file, size, hash }
}

/** Of the files of a model those that loading reads: of weights safetensors, else what PyTorch wrote. */
export function neededFiles(entries: readonly HubEntry[]): HubEntry[] {
  const top = entries.filter(({ type, path: file }) => type === 'file' && /^[^/\\]+$/.test(file))
  const weights = top.filter(({ path: file }) => weightFile.test(file))
  const tensors = weights.filter(({ path: file }) => /\.safetensors\d*$/.test(file))
  const others = weights.filter(({ path: file }) => /^pytorch_model.*\.bin$/.test(file))
  const chosen = tensors.length > 0 ? tensors : others
  const kind = tensors.length > 0 ? 'safetensors' : 'bin'
  const small = top.filter(({ path: file }) => {
    const index = /\.(\w+)\.index\.json$/.exec(file)?.[1]
    if (index !== undefined) return index === kind && !/^(consolidated|adapter_)/.test(file)
    return /\.(json|jinja|model)$/.test(file)
  })
  return [...small, ...chosen] // the weights last: with them a snapshot is whole
}

async function listed(library: HubLibrary, access: HubAccess, { name, revision }: HubId) {
  const { sha } = await library.modelInfo({
    ...{ ...access, name, revision, additionalFields: ['sha'] as ['sha'] },
  })
  if (!isCommit(sha)) bad(name, 'the hub must name a commit', sha)
  const entries: HubEntry[] = []
  const params = { ...access, repo: name, revision: sha, recursive: false }
  for await (const entry of library.listFiles(params)) entries.push(entry)
  return { commit: sha, files: neededFiles(entries).map((entry) => readEntry(name, entry)) }
}

async function checkRoom(store: string, needed: number, { name }: HubId): Promise<void> {
  const { bavail, bsize } = await statfs(store)
  const free = bavail * bsize
  if (needed <= free) return
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  throw new MoeError(
    'ERR_MOE_HUB',
    `${name}: files of ${gigabytes(needed)} must fit the disk of ${cacheFolder()}, got ${gigabytes(free)} ` +
      'free; HF_HUB_CACHE names another folder',
  )
}

/**
 * Downloads what a model needs into the hub's cache, or finds it there. What was interrupted goes on where it was, and
 * each file is compared with its hash. Always asks the hub, so a branch is followed; offline, the cache answers.
 *
 * @returns the snapshot's folder
 * @throws {MoeError} ERR_MOE_HUB, ERR_MOE_CHECKPOINT without `@huggingface/hub`, and a signal's reason
 */
export async function pullModel(id: HubId, options: PullOptions = {}): Promise<string> {
  try {
    return await pull(id, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    throw hubFailure(id, error)
  }
}

async function pull(id: HubId, { onProgress, signal }: PullOptions): Promise<string> {
  if (isOffline()) {
    const folder = cachedSnapshot(id)
    if (folder !== undefined) return folder
    throw new MoeError(
      'ERR_MOE_HUB',
      `${id.name}: model must be in the cache (${cacheFolder()}) where HF_HUB_OFFLINE is set, got no whole copy ` +
        `of ${id.revision}`,
    )
  }
  const library = await loadLibrary(id)
  const token = accessToken()
  const access = {
    ...{ hubUrl: endpoint(), fetch: fetchWith(signal) },
    ...(token !== undefined && { accessToken: token }),
  }
  const { commit, files } = await listed(library, access, id)
  signal?.throwIfAborted()
  if (!files.some(({ name }) => name === 'config.json'))
    bad(
      id.name,
      'model must have a config.json on the hub',
      files.map(({ name }) => name),
    )
  const store = storeOf(id)
  const snapshot = path.join(store, 'snapshots', commit)
  for (const folder of [snapshot, path.join(store, 'blobs')])
    await mkdir(folder, { recursive: true })
  const total = files.reduce((sum, { size }) => sum + size, 0)
  const missing = await missingBytes(store, files)
  await checkRoom(store, missing, id)
  let done = total - missing
  for (const file of files) {
    const stream = async (from: number): Promise<AsyncIterable<Uint8Array>> => {
      const blob = await library.downloadFile({
        ...{ ...access, repo: id.name, revision: commit, path: file.name },
      })
      if (!blob) return bad(id.name, `the hub must have ${file.name}`, 'nothing')
      return (from === 0 ? blob : blob.slice(from, file.size)).stream() as never
    }
    const onBytes = (bytes: number) => {
      done += bytes
      onProgress?.({ downloadedBytes: done, totalBytes: total, file: file.name })
    }
    await fetchFile({ id, store, snapshot, file }, stream, { onBytes, signal })
  }
  if (!isCommit(id.revision)) {
    const ref = path.join(store, 'refs', id.revision)
    await mkdir(path.dirname(ref), { recursive: true })
    await writeFile(ref, commit)
  }
  return snapshot
}
