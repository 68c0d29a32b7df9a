// What a hub answers, and folders that people give.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import timers from 'node:timers/promises'
import { pullModel } from '../../../build/modules/hub/pull.js'
import { checkpointFolder } from '../../../build/modules/weights/mistakes.js'
import { mutateBytes, mutateJson } from '../mutate.mjs'
import { inFolder, madeFolder } from './inputs.mjs'

const files = { 'config.json': '{"model_type": "mixtral"}', 'model.safetensors': 'weights' }
const entries = Object.entries(files).map(([name, text]) => {
  const oid = createHash('sha1').update(`blob ${text.length}\0${text}`).digest('hex')
  const sha256 = createHash('sha256').update(text).digest('hex')
  const lfs = name.endsWith('.json') ? {} : { lfs: { oid: sha256, size: text.length } }
  return { type: 'file', path: name, size: text.length, oid, ...lfs }
})
const commit = 'a'.repeat(40)
const info = { _id: '1', id: 'org/name', sha: commit, lastModified: '2026-01-01T00:00:00Z' }
const hubWords =
  `file directory ../x /etc/x a/../../x .. .git config.json model.safetensors ${'b'.repeat(64)} lfs sha
  pytorch_model.bin model-00001-of-00002.safetensors\0 C:\\x oid ${'../'.repeat(13)}x`.split(/\s+/)

/** Everything below a folder. */
const below = (dir) => readdirSync(dir, { recursive: true }).map(String).sort()

export function hub(random) {
  const which = random.below(4)
  const [revision, tree] = [info, entries].map((value, i) =>
    Buffer.from(JSON.stringify(i === which ? mutateJson(random, value, hubWords) : value) ?? ''),
  )
  const data = Object.fromEntries(
    Object.entries(files).map(([name, text]) => {
      const bytes = Buffer.from(text)
      return [name, which === 2 && random.rarely(2) ? mutateBytes(random, bytes) : bytes]
    }),
  )
  const status =
    which === 3 ? random.of([200, 206, 301, 400, 401, 403, 404, 416, 429, 500, 503]) : 200
  const answer = async (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input)
    if (pathname.includes('/revision/')) return new Response(revision, { status })
    if (pathname.includes('/tree/')) return new Response(tree, { status: 200 })
    const bytes = data[pathname.split('/').at(-1)]
    if (!bytes) return new Response('{}', { status: 404 })
    const [, start, end] =
      /^bytes=(\d+)-(\d*)$/.exec(new Headers(init?.headers).get('range') ?? '') ?? []
    const part =
      start === undefined ? bytes : bytes.subarray(Number(start), end ? Number(end) + 1 : undefined)
    const headers = {
      ...{ etag: '"x"', 'content-length': String(part.length) },
      ...(start !== undefined && {
        'content-range': `bytes ${start}-${Number(start) + part.length - 1}/${bytes.length}`,
      }),
    }
    return new Response(part, { status: start === undefined ? 200 : 206, headers })
  }
  const run = async () => {
    // Waiting between failures is for the hub's sake.
    timers.setTimeout = async () => {}
    syncBuiltinESMExports()
    const cache = madeFolder('hub')
    globalThis.fetch = answer
    Object.assign(process.env, {
      HF_ENDPOINT: 'http://hub.test',
      HF_HUB_CACHE: path.join(cache, 'in'),
    })
    try {
      const snapshot = await pullModel({ name: 'org/name', revision: 'main' })
      for (const name of readdirSync(snapshot))
        assert(readFileSync(path.join(snapshot, name)).length >= 0, 'files that can be read')
    } finally {
      const outside = below(cache).filter((name) => !/^in(\/models--org--name(\/|$)|$)/.test(name))
      rmSync(cache, { recursive: true })
      assert.deepEqual(outside, [], 'nothing outside of the model')
    }
  }
  return { bytes: Buffer.concat([revision, tree, ...Object.values(data)]), run }
}

const beginnings = [
  ...[
    '{}',
    '',
    'GGUF\x03\0\0\0',
    'version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 12\n',
  ],
  ...[
    '<!doctype html>',
    ' <HTML>',
    'PK\x03\x04',
    '{"base_model_name_or_path": "org/base"}',
    '{"a":',
  ],
].map((text) => Buffer.from(text, 'latin1'))
const names =
  `config.json model.safetensors model.gguf model.safetensors.index.json adapter_config.json params.json
  consolidated.00.pth tokenizer.json pytorch_model.bin a.index snapshots/x models--a--b/y sub/config.json refs/main
  model.safetensors00 hub/models--a--b/z`.split(/\s+/)

/** Folders of files that are not what their names say. */
export function mistakes(random) {
  const chosen = Array.from({ length: random.below(5) }, () => random.of(names))
  const made = chosen.map((name) => [name, mutateBytes(random, random.of(beginnings), beginnings)])
  const odd = ['', '/', '/..', '/config.json', '/nothing', '\0', '/%ff', '/model.gguf']
  const suffix = random.rarely(4) ? random.of(odd) : ''
  const run = () => {
    const dir = inFolder('mistakes')
    rmSync(dir, { recursive: true, force: true })
    mkdirSync(dir)
    for (const [name, bytes] of made) {
      const file = path.join(dir, name)
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, bytes)
    }
    const prefix = random.of(['', '', 'file://'])
    assert(typeof checkpointFolder('loadModel', prefix + dir + suffix) === 'string')
  }
  return { bytes: Buffer.concat(made.flat().map(Buffer.from)), run }
}
