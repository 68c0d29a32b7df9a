import { chmodSync, cpSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { runScript } from '../support/child.ts'
import { copyCheckpoint, failure, temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const base = fixture('golden/moepp/tied-sharded-f32') // an index and several files
const posix = process.platform !== 'win32'
const works = async (dir: string) => {
  await using model = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
  expect((await model.forward([1, 2])).logits.every(Number.isFinite)).toBe(true)
}
const loads = (dir: string) => `
const model = await loadModel(${JSON.stringify(dir)}, { device: 'cpu', maxTokens: 64 })
await show('forward', model.forward([1, 2]))
await model.dispose()`
const loaded = { code: 0, signal: null, stdout: 'forward ok\n', stderr: '' }

describe('a folder of any name', () => {
  it.each([
    'with spaces',
    'größe-模型-🦙',
    'e\u0301 and \u00e9',
    "it's $HOME; `x` & 100% #1",
    ...(posix ? ['new\nline', 'back\\slash', '"quoted"'] : []),
  ])('%j', async (name) => {
    const dir = path.join(temporaryFolder(), name)
    cpSync(base, dir, { recursive: true })
    await works(dir)
  })

  it.skipIf(!posix)('as long as the system takes', async () => {
    // Longer than one call may name: made and used below a folder in the middle.
    let dir = temporaryFolder()
    while (dir.length < 3700) dir = path.join(dir, 'x'.repeat(200))
    mkdirSync(dir, { recursive: true })
    cpSync(base, path.join(dir, 'model'), { recursive: true })
    await works(path.join(dir, 'model'))
    const error = await failure(() => loadModel(path.join(dir, 'y'.repeat(500))))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
  })

  it.skipIf(process.platform !== 'linux')('that is not UTF-8, as the current one', async () => {
    const parent = temporaryFolder()
    const name = Buffer.concat([Buffer.from(`${parent}/`), Buffer.from([0x6d, 0xff, 0xfe])])
    mkdirSync(name)
    for (const file of readdirSync(base)) {
      const from = Buffer.from(path.join(base, file))
      symlinkSync(from, Buffer.concat([name, Buffer.from(`/${file}`)]))
    }
    const below = `cd ${parent}/m* && exec "$@"`
    expect(await runScript(loads('.'), { below })).toEqual(loaded)
  })

  it('reached through links', async () => {
    const links = temporaryFolder()
    for (const name of readdirSync(base)) symlinkSync(path.join(base, name), path.join(links, name))
    symlinkSync(links, path.join(links, 'again'))
    await works(path.join(links, 'again'))
  })
})

describe('files that cannot be read as files', () => {
  const index = 'model.safetensors.index.json'
  const endless = '/proc/self/pagemap' // elsewhere than on Linux a link to nothing
  it.each<[string, string, (file: string) => void]>([
    ['a folder', 'config.json', (file) => mkdirSync(file)],
    ['a folder', index, (file) => mkdirSync(file)],
    ['a link to nothing', 'config.json', (file) => symlinkSync('/no/such/file', file)],
    ['a link to nothing', index, (file) => symlinkSync('/no/such/file', file)],
    ['a link to itself', 'config.json', (file) => symlinkSync(file, file)],
    ['a device', 'config.json', (file) => symlinkSync('/dev/zero', file)],
    ['a file that says 0 bytes and has no end', index, (file) => symlinkSync(endless, file)],
  ])('%s as %s', async (_, name, make) => {
    const dir = copyCheckpoint(base)
    rmSync(path.join(dir, name))
    make(path.join(dir, name))
    const error = await failure(() => loadModel(dir))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toContain(path.join(dir, name))
  })

  it.each([
    ['a folder', (file: string) => mkdirSync(file)],
    ['a device', (file: string) => symlinkSync('/dev/zero', file)],
  ])('%s as weights', async (_, make) => {
    const dir = copyCheckpoint(fixture('golden/moepp/base-f32'))
    const file = path.join(dir, 'model.safetensors')
    rmSync(file)
    make(file)
    const error = await failure(() => loadModel(dir))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toContain(`${file}: file must be readable`)
  })

  it.skipIf(!posix)('pipes, which would never end', async () => {
    const dir = copyCheckpoint(base)
    const others = temporaryFolder() // looked at for what may have been meant
    rmSync(path.join(dir, 'config.json'))
    const pipes = [dir, others].map((folder) => `${folder}/config.json`)
    const below = `mkfifo ${pipes.join(' ')} ${others}/adapter_config.json && exec "$@"`
    const source = [dir, others, path.dirname(dir)]
      .map((folder) => `await show('load', loadModel(${JSON.stringify(folder)}))`)
      .join('\n')
    const stdout = 'load ERR_MOE_CHECKPOINT\n'.repeat(3)
    expect(await runScript(source, { below })).toEqual({ ...loaded, stdout })
  })

  it.skipIf(!posix)('without permission', async () => {
    const dir = copyCheckpoint(base)
    // For root, too: by an owner that is someone else.
    const root = process.getuid?.() === 0
    for (const name of readdirSync(dir)) chmodSync(path.join(dir, name), 0o600)
    if (!root) chmodSync(path.join(dir, 'config.json'), 0)
    const asOther = root ? { uid: 65534, gid: 65534 } : {}
    chmodSync(path.dirname(dir), 0o755)
    const source = `await show('load', loadModel(${JSON.stringify(dir)}))`
    const stdout = 'load ERR_MOE_CHECKPOINT\n'
    expect(await runScript(source, asOther)).toEqual({ ...loaded, stdout })
  })
})

describe('surroundings', () => {
  it.skipIf(!posix)('no environment, no HOME, no folder to be in', async () => {
    const here = temporaryFolder()
    const below = `cd ${here} && rmdir ${here} && exec "$@"`
    expect(await runScript(loads(base), { below, env: {} })).toEqual(loaded)
  })

  it.skipIf(!posix)('a checkpoint that cannot be written to', async () => {
    const dir = copyCheckpoint(base)
    for (const name of readdirSync(dir)) chmodSync(path.join(dir, name), 0o444)
    chmodSync(dir, 0o555)
    chmodSync(path.dirname(dir), 0o755)
    const asOther = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    expect(await runScript(loads(dir), asOther)).toEqual(loaded)
    chmodSync(dir, 0o755)
  })

  it('a folder that is moved while its model is used', async () => {
    const dir = copyCheckpoint(base)
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    const before = (await model.forward([1, 2])).logits
    renameSync(dir, `${dir}-moved`)
    expect((await model.forward([1, 2])).logits).toEqual(before)
  })
})
