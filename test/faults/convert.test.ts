import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { convertCheckpoint, loadModel } from '../../lib/index.ts'
import { runScript } from '../support/child.ts'
import { temporaryFolder } from '../support/files.ts'
import { pytorchCheckpoint } from '../support/pytorch.ts'

const posix = process.platform !== 'win32'
const convert = (dir: string, out: string) => `
const out = ${JSON.stringify(out)}
await show('convert', moe.convertCheckpoint(${JSON.stringify(dir)}, out))
console.log(fs.existsSync(out))`
const refused = { code: 0, signal: null, stdout: 'convert ERR_MOE_OPTION\nfalse\n', stderr: '' }

/** A command line that runs another one with mounts of its own; undefined: not allowed here. */
function ownMounts(): string | undefined {
  const dir = temporaryFolder()
  return ['unshare -m', 'unshare -rm'].find(
    (command) => spawnSync('bash', ['-c', `${command} mount -t tmpfs tmpfs ${dir}`]).status === 0,
  )
}

describe.skipIf(!posix)('convert on a disk that fills up', () => {
  // Less than the header, in the middle, just too little, and enough: the result has 2026 KiB.
  it.each([1, 500, 2000, 3000])('files of at most %i KiB', async (limit) => {
    const out = path.join(temporaryFolder(), 'out')
    const below = `ulimit -f ${limit}; exec "$@"`
    const ended = await runScript(convert(pytorchCheckpoint(), out), { below })
    expect(ended).toEqual(limit < 2026 ? refused : { ...refused, stdout: 'convert ok\ntrue\n' })
  })

  it.for([64, 1024])('a file system of %i KiB', async (size, { skip }) => {
    const command = ownMounts()
    if (!command) skip('mounting a file system is not allowed here')
    const disk = temporaryFolder()
    const mount = `mount -t tmpfs -o size=${size}k tmpfs ${disk} && exec "$@"`
    const below = `exec ${command} bash -c '${mount}' bash "$@"`
    const ended = await runScript(convert(pytorchCheckpoint(), path.join(disk, 'out')), { below })
    expect(ended).toEqual(refused)
  })
})

describe.skipIf(!posix)('convert of a folder that is not whole', () => {
  it.each<[string, string, (file: string) => void]>([
    ['without one of its files', 'pytorch_model-00002-of-00003.bin', rmSync],
    ['with a link to nothing', 'tokenizer.json', (file) => symlinkSync('/no/such/file', file)],
    ['with a device', 'tokenizer.json', (file) => symlinkSync('/dev/null', file)],
  ])('%s', async (_, name, harm) => {
    const [dir, out] = [pytorchCheckpoint(3), path.join(temporaryFolder(), 'out')]
    const file = path.join(dir, name)
    harm(file)
    await expect(convertCheckpoint(dir, out)).rejects.toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringContaining(`${file}: file must`),
    })
    expect(existsSync(out)).toBe(false)
  })
})

describe.skipIf(!posix)('convert that is killed', () => {
  it.each([1, 3])(
    'leaves nothing that is taken for a checkpoint, and can run again: %i files',
    async (parts) => {
      const [dir, out] = [pytorchCheckpoint(parts), path.join(temporaryFolder(), 'out')]
      const { signal } = await runScript(`
      const kill = ({ convertedBytes, totalBytes }) => {
        if (convertedBytes === totalBytes) process.kill(process.pid, 'SIGKILL')
      }
      await moe.convertCheckpoint(${JSON.stringify(dir)}, ${JSON.stringify(out)}, { onProgress: kill })`)
      expect(signal).toBe('SIGKILL')
      expect(readdirSync(out).length).toBe(parts)
      for (const name of readdirSync(out)) expect(name).toMatch(/\.moe-native-partial$/)
      await expect(loadModel(out)).rejects.toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
      await convertCheckpoint(dir, out)
      await using model = await loadModel(out, { device: 'cpu', maxTokens: 32 })
      expect((await model.forward([1, 2])).logits.every(Number.isFinite)).toBe(true)
      expect(existsSync(path.join(out, 'config.json'))).toBe(true)
    },
  )
})
