import { readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { neededFiles, pullModel } from '../../lib/hub/pull.ts'
import { meantHubId, readHubId } from '../../lib/hub_id.ts'
import { loadModel } from '../../lib/index.ts'
import { failure, temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { startHub } from '../support/hub_server.ts'

// Waiting between failures is for the hub's sake.
vi.mock('node:timers/promises', () => ({ setTimeout: async () => {} }))

const said = async (run: () => unknown): Promise<string> => {
  const { code, message } = await failure(run)
  return `${code} ${message}`
}
const id = { name: 'org/name', revision: 'main' }
const weights = 'model.safetensors'

describe('a model of the hub', () => {
  const dir = fixture('golden/mixtral/base-f32')
  const files = new Map(
    ['config.json', weights].map((name) => [name, readFileSync(path.join(dir, name))]),
  )
  files.set('tokenizer_config.json', Buffer.from('{}'))
  files.set('README.md', Buffer.from('# name'))
  files.set('pytorch_model.bin', Buffer.alloc(2000))
  let hub: Awaited<ReturnType<typeof startHub>>
  let cache: string
  beforeAll(async () => {
    hub = await startHub(files)
  })
  afterAll(() => hub.close())
  beforeEach(() => {
    cache = temporaryFolder()
    Object.assign(hub.state, { cuts: [], ignoresRanges: false, token: undefined, asked: [] })
    hub.state.damaged.clear()
    hub.state.longer.clear()
    for (const name of ['HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HF_TOKEN']) vi.stubEnv(name, undefined)
    vi.stubEnv('HF_ENDPOINT', hub.url)
    vi.stubEnv('HF_HOME', cache)
  })
  afterEach(() => vi.unstubAllEnvs())

  const store = () => path.join(cache, 'hub/models--org--name')
  const snapshot = () => path.join(store(), 'snapshots', hub.state.commit)
  const asked = () => hub.state.asked.map((one) => one.split(' ')[0])

  it('comes into the cache as huggingface_hub lays it out, without what is not needed', async () => {
    const seen: number[] = []
    const folder = await pullModel(id, {
      onProgress: ({ downloadedBytes, totalBytes }) => seen.push(downloadedBytes / totalBytes),
    })
    expect(folder).toBe(snapshot())
    expect(readFileSync(path.join(store(), 'refs/main'), 'utf8')).toBe(hub.state.commit)
    const names = readdirSync(folder).sort()
    expect(names).toEqual([...files.keys()].filter((name) => !/\.(md|bin)$/.test(name)).sort())
    for (const name of names) {
      expect(readFileSync(path.join(folder, name)).equals(files.get(name)!)).toBe(true)
      expect(readlinkSync(path.join(folder, name))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{40,64}$/)
    }
    expect(seen.at(-1)).toBe(1)
    expect(asked().at(-1)).toBe(weights) // with its weights a snapshot is whole
  })

  it('goes on by itself where a connection broke, and asks for the rest alone', async () => {
    hub.state.cuts = [300_000, 200_000]
    await pullModel(id)
    const ranges = hub.state.asked.filter((one) => one.startsWith(weights))
    expect(ranges.length).toBeGreaterThanOrEqual(3)
    expect(ranges[0]).toMatch(/whole$/)
    for (const one of ranges.slice(1)) expect(one).toMatch(/bytes=[1-9]\d*-\d+$/)
    expect(readFileSync(path.join(snapshot(), weights)).equals(files.get(weights)!)).toBe(true)
  })

  it('comes whole from a proxy that gives no parts of files', async () => {
    Object.assign(hub.state, { cuts: [300_000], ignoresRanges: true })
    await pullModel(id)
    expect(readFileSync(path.join(snapshot(), weights)).equals(files.get(weights)!)).toBe(true)
  })

  it('goes on in another call', async () => {
    const abort = new AbortController()
    const stopped = pullModel(id, {
      signal: abort.signal,
      onProgress: ({ file, downloadedBytes }) =>
        file === weights && downloadedBytes > 100_000 && abort.abort(new Error('enough')),
    })
    await expect(stopped).rejects.toThrow('enough')
    const [part] = readdirSync(path.join(store(), 'blobs')).filter((name) =>
      /incomplete/.test(name),
    )
    const { size } = statSync(path.join(store(), 'blobs', part!))
    expect(size).toBeGreaterThan(0)
    hub.state.asked = []
    await pullModel(id)
    const last = files.get(weights)!.length - 1
    expect(hub.state.asked).toEqual([`${weights} bytes=${size}-${last}`])
  })

  it('is loaded by its id, from then on without the hub', async () => {
    const downloads: string[] = []
    const onDownload = ({ file }: { file: string }) => downloads.push(file)
    const options = { device: 'cpu', maxTokens: 64, onDownload } as const
    await using first = await loadModel('org/name', options)
    expect(downloads).toContain(weights)
    expect(first.config.architecture).toBe('mixtral')
    hub.state.asked = []
    downloads.length = 0
    await using _second = await loadModel('org/name', options)
    vi.stubEnv('HF_HUB_OFFLINE', '1')
    await using _offline = await loadModel('hf://org/name@main', options)
    expect([hub.state.asked, downloads]).toEqual([[], []])
    expect(await said(() => loadModel('org/name@v1', options))).toMatch(
      /ERR_MOE_CHECKPOINT org\/name@v1: folder must exist, got nothing there; .* hub: .* model must be in the cache \(.*\) where HF_HUB_OFFLINE is set/,
    )
  })

  it('a copy that lacks weights is none', async () => {
    const folder = await pullModel(id)
    rmSync(path.join(folder, weights))
    vi.stubEnv('HF_HUB_OFFLINE', 'true')
    expect(await said(() => pullModel(id))).toMatch(/no whole copy of main/)
  })

  it('a tag and a commit are revisions, too', async () => {
    expect(await pullModel({ ...id, revision: 'v1' })).toBe(snapshot())
    expect(readdirSync(path.join(store(), 'refs'))).toEqual(['v1'])
    hub.state.asked = []
    expect(await pullModel({ ...id, revision: hub.state.commit })).toBe(snapshot())
    expect(hub.state.asked).toEqual([])
  })

  it('sends the token of the environment, or of the login', async () => {
    hub.state.token = 'hf_right'
    expect(await said(() => pullModel(id))).toMatch(
      /ERR_MOE_HUB org\/name: model must be .* got 401: .* private or gated; .* set HF_TOKEN/,
    )
    writeFileSync(path.join(cache, 'token'), 'hf_right\n')
    await pullModel(id)
    vi.stubEnv('HF_TOKEN', 'hf_wrong')
    expect(await said(() => pullModel(id))).toMatch(/by the account of HF_TOKEN/)
  })

  it.each<[string, () => void, RegExp]>([
    [
      'bytes of another hash',
      () => hub.state.damaged.add(weights),
      /model\.safetensors must have the hash/,
    ],
    [
      'more bytes than the hub lists',
      () => hub.state.longer.add(weights),
      /must have the \d+ bytes that the hub lists, got more/,
    ],
    ['a hub that always hangs up', () => (hub.state.cuts = Array(9).fill(0)), /must answer, got/],
    ['nobody there', () => vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1'), /must answer, got/],
    [
      'a cache that is a file',
      () => {
        vi.stubEnv('HF_HUB_CACHE', path.join(cache, 'file'))
        writeFileSync(path.join(cache, 'file'), '')
      },
      /cache must be a folder that can be written, got/,
    ],
  ])('refuses %s', async (_, spoil, message) => {
    spoil()
    const text = await said(() => pullModel(id))
    expect(text).toMatch(/^ERR_MOE_HUB org\/name: /)
    expect(text).toMatch(message)
  })

  it('refuses a model or revision that is none', async () => {
    expect(await said(() => pullModel({ name: 'org/other', revision: 'main' }))).toMatch(
      /got no such model, or no revision main/,
    )
  })
})

it.each([
  ['org/name', { name: 'org/name', revision: 'main' }],
  ['org/name@refs/pr/1', { name: 'org/name', revision: 'refs/pr/1' }],
  ['hf://org/na.me-1', { name: 'org/na.me-1', revision: 'main' }],
  ['https://huggingface.co/org/name/', { name: 'org/name', revision: 'main' }],
  ['https://huggingface.co/org/name/tree/v1', { name: 'org/name', revision: 'v1' }],
  ['name', undefined],
  ['org/name/more', undefined],
  ['org/name@../../x', undefined],
  ['../name', undefined],
  ['https://example.com/org/name', undefined],
])('%s as a hub id', (text, expected) => expect(readHubId(text)).toEqual(expected))

it('a path that begins with a folder is no hub id', () => {
  expect(meantHubId('lib/nothing')).toBeUndefined()
  expect(meantHubId('no-such-folder/name')).toEqual({
    name: 'no-such-folder/name',
    revision: 'main',
  })
})

it('of several weights safetensors are taken, else what PyTorch wrote', () => {
  const entries = (...names: string[]) =>
    names.map((path) => ({ type: 'file', path, size: 1, oid: 'a'.repeat(40) }))
  const chosen = (...names: string[]) => neededFiles(entries(...names)).map(({ path }) => path)
  const index = 'pytorch_model.bin.index.json'
  expect(chosen('a/model.safetensors', index, 'pytorch_model-1.bin', 'training_args.bin')).toEqual([
    index,
    'pytorch_model-1.bin',
  ])
  expect(chosen('model-1.safetensors', 'model.safetensors.index.json', index, 'x.bin')).toEqual([
    'model.safetensors.index.json',
    'model-1.safetensors',
  ])
  expect(chosen('consolidated.safetensors', 'config.json', 'README.md', 'x.gguf')).toEqual([
    'config.json',
  ])
})
