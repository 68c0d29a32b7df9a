import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const blobHash = (data: Buffer): string =>
  createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex')

/** What a test changes while a hub runs. */
export interface HubState {
  /** Bytes after which the next answers with a file of weights break off, one each. */
  cuts: number[]
  /** Files whose bytes are not those of their hash. */
  damaged: Set<string>
  /** Files that are longer than their size. */
  longer: Set<string>
  /** Answer requests for parts with the whole. */
  ignoresRanges: boolean
  /** What clients must send. */
  token: string | undefined
  commit: string
  /** `<path> <range>` of each request of a file's bytes. */
  asked: string[]
}

/**
 * A server that speaks the hub's protocol for one model, `org/name`: its revisions, its list of files in pages of two,
 * and files with ranges; files of 1000 bytes and more are as if git had pointers to them.
 */
export async function startHub(files: Map<string, Buffer>): Promise<{
  url: string
  state: HubState
  close(): Promise<void>
}> {
  const state: HubState = {
    cuts: [],
    damaged: new Set(),
    longer: new Set(),
    ignoresRanges: false,
    token: undefined,
    commit: 'a'.repeat(40),
    asked: [],
  }
  const entry = (path: string, data: Buffer) => {
    const lfs = { oid: createHash('sha256').update(data).digest('hex'), size: data.length }
    const isLarge = data.length >= 1000
    return {
      ...{ type: 'file', path, size: data.length, oid: blobHash(data) },
      ...(isLarge && { lfs: { ...lfs, pointerSize: 130 } }),
    }
  }
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://hub')
    const json = (status: number, body: unknown, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(JSON.stringify(body))
    }
    if (state.token !== undefined && request.headers.authorization !== `Bearer ${state.token}`)
      return json(401, { error: 'Access to model org/name is restricted' })
    const info = /^\/api\/models\/org\/name\/revision\/(.+)$/.exec(pathname)
    if (info && ['main', 'v1', state.commit].includes(info[1]!))
      return json(200, { _id: '1', id: 'org/name', sha: state.commit, lastModified: 0 })
    if (pathname === `/api/models/org/name/tree/${state.commit}`) {
      const all = [{ type: 'directory', path: 'onnx', size: 0, oid: 'b'.repeat(40) }].concat(
        [...files].map(([path, data]) => entry(path, data)),
      )
      const from = Number(searchParams.get('cursor') ?? 0)
      const next = `<${url}${pathname}?cursor=${from + 2}>; rel="next"`
      return json(200, all.slice(from, from + 2), from + 2 < all.length ? { link: next } : {})
    }
    const [, path] = new RegExp(`^/org/name/resolve/${state.commit}/(.+)$`).exec(pathname) ?? []
    const data = path === undefined ? undefined : files.get(path)
    if (!data) return json(404, { error: 'Not Found' }, { 'x-error-code': 'EntryNotFound' })
    sendFile(path!, data)

    function sendFile(path: string, data: Buffer) {
      const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
      const isProbe = start === '0' && end === '0'
      if (!isProbe) state.asked.push(`${path} ${request.headers.range ?? 'whole'}`)
      const isPart = start !== undefined && (isProbe || !state.ignoresRanges)
      const from = isPart ? Number(start) : 0
      const to = isPart && end ? Math.min(Number(end) + 1, data.length) : data.length
      const more = state.longer.has(path) && !isProbe ? [Buffer.from('more')] : []
      const part = Buffer.concat([data.subarray(from, to), ...more])
      if (state.damaged.has(path)) part[part.length - 1]! ^= 1
      response.writeHead(isPart ? 206 : 200, {
        'content-length': part.length,
        etag: `"${blobHash(data)}"`,
        ...(isPart && { 'content-range': `bytes ${from}-${to - 1}/${data.length}` }),
      })
      const cut = isProbe || !path.endsWith('.safetensors') ? undefined : state.cuts.shift()
      if (cut === undefined) return void response.end(part)
      response.write(part.subarray(0, cut), () => response.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { url, state, close }
}
