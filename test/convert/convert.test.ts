import {
  copyFileSync,
  existsSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ConvertProgress, convertCheckpoint, loadModel } from '../../lib/index.ts'
import {
  copyCheckpoint,
  failure,
  readStored,
  type StoredTensor,
  temporaryFolder,
} from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { pickleStateDict, pytorchCheckpoint, torchFile } from '../support/pytorch.ts'

const base = fixture('golden/moepp/base-bf16')
const newFolder = (): string => path.join(temporaryFolder(), 'out')

describe('convert', () => {
  it.each([
    ['one file', 1, {}],
    ['three shards', 3, {}],
    ['zip64, as files of 4 GiB and more are', 1, { zip64: true }],
  ])('%s: the same model', async (_, parts, options) => {
    const out = newFolder()
    const seen: ConvertProgress[] = []
    await convertCheckpoint(pytorchCheckpoint(parts, options), out, {
      onProgress: (p) => seen.push(p),
    })
    const bytes = seen.map(({ convertedBytes }) => convertedBytes)
    expect(bytes.length).toBeGreaterThan(1)
    expect(bytes).toEqual(bytes.toSorted((a, b) => a - b))
    expect(new Set(seen.map(({ file }) => file)).size).toBe(parts)
    const stored = [...readStored(path.join(base, 'model.safetensors')).values()]
    const totalBytes = stored.reduce((n, { data }) => n + data.length, 0)
    expect(seen.at(-1)).toMatchObject({ convertedBytes: totalBytes, totalBytes })
    await using converted = await loadModel(out, { device: 'cpu', maxTokens: 32 })
    await using original = await loadModel(base, { device: 'cpu', maxTokens: 32 })
    expect((await converted.forward([1, 2, 3])).logits).toEqual(
      (await original.forward([1, 2, 3])).logits,
    )
    expect(readdirSync(out).filter((f) => f.includes('pytorch') || f.endsWith('.partial'))).toEqual(
      [],
    )
  })

  it('takes links to files, as a download cache has them', async () => {
    const blobs = pytorchCheckpoint()
    const links = temporaryFolder()
    for (const name of readdirSync(blobs))
      symlinkSync(path.join(blobs, name), path.join(links, name))
    symlinkSync('/no/such/file', path.join(links, 'dangling.txt'))
    const out = newFolder()
    await convertCheckpoint(links, out)
    expect(readdirSync(out)).toEqual(['config.json', 'generation_config.json', 'model.safetensors'])
    await using model = await loadModel(out, { device: 'cpu', maxTokens: 32 })
    expect((await model.forward([1, 2, 3])).logits.every(Number.isFinite)).toBe(true)
  })

  it('keeps names that every object has', async () => {
    const dir = temporaryFolder()
    const names = ['constructor', '__proto__', 'toString']
    const tensors = names.map((name, i): [string, StoredTensor] => [
      name,
      { dtype: 'F32', shape: [1], data: new Uint8Array(4).fill(i) },
    ])
    writeFileSync(path.join(dir, 'pytorch_model.bin'), torchFile(new Map(tensors)))
    const out = newFolder()
    await convertCheckpoint(dir, out)
    const stored = readStored(path.join(out, 'model.safetensors'))
    expect([...stored].map(([name, { data }]) => [name, data[0]])).toEqual([
      ['constructor', 0],
      ['__proto__', 1],
      ['toString', 2],
    ])
  })

  it.each([
    ['tied weights are written twice', 2],
    ['more than that is refused', 10],
  ])('tensors that share their bytes: %s', async (_, names) => {
    const dir = temporaryFolder()
    const tensor = { dtype: 'F32', shape: [16384], data: new Uint8Array(65536).fill(3) }
    const all = new Map(Array.from({ length: names }, (_, i) => [`w${i}`, tensor]))
    const pickle = pickleStateDict(all)
    // Keys of storages are texts of one digit: all become 0.
    for (let i = 5; i < pickle.length; i++)
      if (pickle[i - 5] === 0x58 && pickle[i - 4] === 1 && pickle[i - 3] === 0) pickle[i] = 0x30
    const file = torchFile(new Map([['w0', tensor]]), { pickle })
    writeFileSync(path.join(dir, 'pytorch_model.bin'), file)
    const out = newFolder()
    const converted = convertCheckpoint(dir, out)
    if (names > 2) {
      const error = await failure(() => converted)
      expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
      expect(error.message).toMatch(/at most 8 times the file of \d+ bytes, got 655360 bytes/)
      return
    }
    await converted
    const stored = [...readStored(path.join(out, 'model.safetensors')).values()]
    expect(stored.map(({ data }) => data.every((byte) => byte === 3))).toEqual([true, true])
  })

  it('refuses a name that safetensors keeps for itself', async () => {
    const dir = temporaryFolder()
    const tensor = { dtype: 'F32', shape: [1], data: new Uint8Array(4) }
    const file = torchFile(new Map([['__metadata__', tensor]]))
    writeFileSync(path.join(dir, 'pytorch_model.bin'), file)
    expect(await failure(() => convertCheckpoint(dir, newFolder()))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/__metadata__ must have another name/),
    })
  })

  it('an output folder that was there stays, and is empty after a failure', async () => {
    const out = temporaryFolder()
    const reason = new Error('enough')
    const onProgress = () => {
      throw reason
    }
    expect(await failure(() => convertCheckpoint(pytorchCheckpoint(), out, { onProgress }))).toBe(
      reason,
    )
    expect(readdirSync(out)).toEqual([])
    await convertCheckpoint(pytorchCheckpoint(), out)
    expect(readdirSync(out)).toContain('model.safetensors')
  })

  it('an abort leaves nothing behind', async () => {
    const out = newFolder()
    const controller = new AbortController()
    const reason = new Error('enough')
    const running = convertCheckpoint(pytorchCheckpoint(), out, {
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    expect(await failure(() => running)).toBe(reason)
    expect(existsSync(out)).toBe(false)
  })

  const pickle = (bytes: number[]) => (dir: string) =>
    writeFileSync(path.join(dir, 'pytorch_model.bin'), torchFile(new Map(), { pickle: bytes }))
  const ascii = (text: string) => [...Buffer.from(text)]
  const plain = new Map([['w', { dtype: 'F32', shape: [2, 3], data: new Uint8Array(24) }]])

  it.each<[string, string, (dir: string) => void, RegExp]>([
    [
      'a global that runs code',
      'ERR_MOE_UNSUPPORTED',
      pickle([
        0x80,
        2,
        ...ascii('cos\nsystem\n'),
        0x58,
        2,
        0,
        0,
        0,
        ...ascii('ls'),
        0x85,
        0x52,
        0x2e,
      ]),
      /got the global os\.system/,
    ],
    [
      'a global of builtins',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 4, 0x8c, 8, ...ascii('builtins'), 0x8c, 4, ...ascii('eval'), 0x93, 0x2e]),
      /got the global builtins\.eval/,
    ],
    [
      'a name that every object has',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 2, ...ascii('ctorch\nconstructor\n'), 0x2e]),
      /got the global torch\.constructor/,
    ],
    [
      'an opcode that makes objects',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 2, 0x69, 0x2e]),
      /got the opcode 0x69/,
    ],
    [
      'a pickle of something else',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 2, 0x4b, 1, 0x2e]),
      /must hold a dictionary/,
    ],
    [
      'a dictionary of numbers',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 2, 0x7d, 0x58, 1, 0, 0, 0, 0x61, 0x4b, 1, 0x73, 0x2e]),
      /a must be a tensor/,
    ],
    [
      'a global whose name is a list that holds itself',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 4, 0x5d, 0x94, 0x68, 0, 0x61, 0x68, 0, 0x93, 0x2e]),
      /got a global without a name/,
    ],
    [
      'a dictionary whose key is a list that holds itself',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 4, 0x7d, 0x5d, 0x94, 0x68, 0, 0x61, 0x4b, 1, 0x73, 0x2e]),
      /a key must be a tensor/,
    ],
    [
      'a list of more items than a call can have',
      'ERR_MOE_UNSUPPORTED',
      pickle([0x80, 2, 0x5d, 0x28, ...new Array<number>(300_000).fill(0x4e), 0x65, 0x2e]),
      /must hold a dictionary/,
    ],
    [
      'a truncated pickle',
      'ERR_MOE_CHECKPOINT',
      pickle(pickleStateDict(plain).slice(0, 40)),
      /pickle must be whole/,
    ],
    [
      'a stack that runs empty',
      'ERR_MOE_CHECKPOINT',
      pickle([0x80, 2, 0x85, 0x2e]),
      /got an empty stack/,
    ],
    [
      'a compressed member',
      'ERR_MOE_UNSUPPORTED',
      (dir) => writeFileSync(path.join(dir, 'pytorch_model.bin'), torchFile(plain, { method: 8 })),
      /must be stored/,
    ],
    [
      'no zip archive',
      'ERR_MOE_CHECKPOINT',
      (dir) => writeFileSync(path.join(dir, 'pytorch_model.bin'), 'x'.repeat(100)),
      /must be a zip archive/,
    ],
    [
      'a truncated archive',
      'ERR_MOE_CHECKPOINT',
      (dir) => truncateSync(path.join(dir, 'pytorch_model.bin'), 5000),
      /must be a zip archive/,
    ],
    [
      'no weights',
      'ERR_MOE_CHECKPOINT',
      (dir) => rmSync(path.join(dir, 'pytorch_model.bin')),
      /must hold pytorch_model\*\.bin/,
    ],
  ])('refuses %s', async (_, code, damage, message) => {
    const dir = pytorchCheckpoint()
    damage(dir)
    const error = await failure(() => convertCheckpoint(dir, newFolder()))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  it('sizes that do not fit their zip64 field are a damaged file', async () => {
    const dir = temporaryFolder()
    const bytes = Buffer.from(torchFile(plain, { zip64: true }))
    const entry = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 0x01, 0x02]))
    bytes.writeUInt16LE(bytes.readUInt16LE(entry + 30) - 16, entry + 30)
    writeFileSync(path.join(dir, 'pytorch_model.bin'), bytes)
    expect(await failure(() => convertCheckpoint(dir, newFolder()))).toMatchObject({
      name: 'MoeError',
      code: 'ERR_MOE_CHECKPOINT',
    })
  })

  it('a directory beyond what can be addressed is a damaged file', async () => {
    const dir = temporaryFolder()
    const bytes = Buffer.from(torchFile(plain, { zip64: true }))
    const locator = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 0x06, 0x07]))
    bytes.writeBigUInt64LE(2n ** 62n, locator + 8)
    writeFileSync(path.join(dir, 'pytorch_model.bin'), bytes)
    expect(await failure(() => convertCheckpoint(dir, newFolder()))).toMatchObject({
      name: 'MoeError',
      code: 'ERR_MOE_CHECKPOINT',
    })
  })

  it('refuses a tensor whose storage is too short', async () => {
    const dir = copyCheckpoint(base)
    const short = new Map([['w', { dtype: 'F32', shape: [2, 3], data: new Uint8Array(8) }]])
    writeFileSync(path.join(dir, 'pytorch_model.bin'), torchFile(short))
    expect(await failure(() => convertCheckpoint(dir, newFolder()))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/tensor w must be inside data\/0/),
    })
  })

  it('writes nothing when the last of three files is damaged', async () => {
    const dir = pytorchCheckpoint(3)
    truncateSync(path.join(dir, 'pytorch_model-00003-of-00003.bin'), 5000)
    const out = newFolder()
    expect(await failure(() => convertCheckpoint(dir, out))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
    })
    expect(existsSync(out)).toBe(false)
  })

  it('refuses a tensor that two files have', async () => {
    const dir = pytorchCheckpoint(3)
    const [first, second] = [1, 2].map((i) => path.join(dir, `pytorch_model-0000${i}-of-00003.bin`))
    copyFileSync(first!, second!)
    const error = await failure(() => convertCheckpoint(dir, newFolder()))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/must be in one file, got it in two/)
  })

  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const odd = [
    undefined,
    null,
    5,
    5n,
    '',
    'a\0b',
    {},
    [],
    Symbol('x'),
    () => 0,
    cyclic,
    revoked.proxy,
  ]
  const good = { dir: base, out: '/no/such/place', options: {} }
  it.each<[string, object]>([
    ...odd.map((dir): [string, object] => ['dir', { dir }]),
    ...odd.map((out): [string, object] => ['out', { out }]),
    ...[null, 5, 'x', Symbol('x')].map((options): [string, object] => ['options', { options }]),
    ...[null, 5, {}, cyclic].map((x): [string, object] => [
      'onProgress',
      { options: { onProgress: x } },
    ]),
    ...[null, 5, {}, 'x', cyclic].map((x): [string, object] => [
      'signal',
      { options: { signal: x } },
    ]),
  ])('refuses a hostile %s', async (name, changed) => {
    const { dir, out, options } = { ...good, ...changed } as any
    const error = await failure(() => convertCheckpoint(dir, out, options))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    expect(error.message).toMatch(new RegExp(`^convertCheckpoint: ${name} must be .*, got `))
  })

  it('an output below a file is a typed error', async () => {
    const out = path.join(pytorchCheckpoint(), 'config.json', 'out')
    const error = await failure(() => convertCheckpoint(pytorchCheckpoint(), out))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    expect(error.message).toMatch(/out must be a folder that can be written, got ENOTDIR/)
  })

  it('refuses to write into a folder with files', async () => {
    const out = temporaryFolder()
    writeFileSync(path.join(out, 'mine'), '')
    expect(await failure(() => convertCheckpoint(pytorchCheckpoint(), out))).toMatchObject({
      code: 'ERR_MOE_OPTION',
    })
    expect(readdirSync(out)).toEqual(['mine'])
  })
})
