import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readStateDict } from '../../lib/convert/pickle.ts'
import { convertCheckpoint } from '../../lib/index.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { openSafetensors } from '../../lib/weights/safetensors.ts'
import { failure, temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'
import { torchFile } from '../support/pytorch.ts'

// What SECURITY.md says of files that nobody has looked at.

const sources = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(path.join(root, 'lib', file), 'utf8'))
  .join('\n')

const pickle = (text: string) => {
  const bytes = Buffer.from(text, 'latin1')
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

describe('nothing of a checkpoint is executed', () => {
  it('the library has no way to', () => {
    expect(sources).not.toMatch(/\beval\(|new Function\(|child_process/)
    // Threads run one file of ours: the grammar's.
    expect(sources.match(/new Worker\(\w+/g)).toEqual(['new Worker(file'])
    expect(sources).toMatch(/const file = new URL\('\.\/matcher_worker\.js', import\.meta\.url\)/)
    // vm runs one constant: it ends patterns that do not end.
    const uses = sources.match(/node:vm|\bvm\.\w+(?:\('[^']*'\))?/g)
    expect(uses).toEqual(['node:vm', 'vm.createContext', "vm.Script('work()')"])
    // Modules are loaded by names that stand in the source.
    for (const [, name] of sources.matchAll(/\b(?:import|require)\(([^)]*)\)/g))
      expect(name).toMatch(/^'[^']+'$/)
  })

  it.each(['os\nsystem', 'builtins\neval', 'torch\nload', 'torch.storage\n_load_from_bytes'])(
    'a pickle that names %j is refused',
    async (name) => {
      const error = await failure(() => readStateDict('file', pickle(`\x80\x02c${name}\n(tR.`)))
      expect(error.code).toBe('ERR_MOE_UNSUPPORTED')
      expect(error.message).toContain(name.replace('\n', '.'))
    },
  )
})

describe('files stay in their folder and in their bounds', () => {
  const safetensors = (header: string, length = BigInt(header.length)) => {
    const file = path.join(temporaryFolder(), 'model.safetensors')
    const start = Buffer.alloc(8)
    start.writeBigUInt64LE(length)
    writeFileSync(file, Buffer.concat([start, Buffer.from(header)]))
    return file
  }

  it.each(['../x.safetensors', '/etc/hostname', 'sub/x.safetensors', '..', ''])(
    'an index that names %j is refused',
    async (name) => {
      const dir = temporaryFolder()
      writeFileSync(path.join(dir, 'config.json'), '{}')
      const index = JSON.stringify({ weight_map: { a: name } })
      writeFileSync(path.join(dir, 'model.safetensors.index.json'), index)
      expect((await failure(() => openCheckpoint(dir))).code).toBe('ERR_MOE_CHECKPOINT')
    },
  )

  it.each([2n ** 63n, 2n ** 40n, 100_000_001n, 3n])(
    'a header of %s bytes is refused before memory is taken for it',
    async (length) => {
      const error = await failure(() => openSafetensors([safetensors('{}', length)]))
      expect(error.code).toBe('ERR_MOE_CHECKPOINT')
      expect(error.message).toContain(`${length === 2n ** 63n ? 2 ** 63 : length}`)
    },
  )

  it.each([
    [[2 ** 50], [0, 2 ** 52]],
    [
      [2 ** 30, 2 ** 30],
      [0, 0],
    ],
    [
      [2 ** 52, 0],
      [0, 2 ** 52],
    ],
  ])('a tensor of shape %j at %j is refused', async (shape, data_offsets) => {
    const file = safetensors(JSON.stringify({ a: { dtype: 'F32', shape, data_offsets } }))
    expect((await failure(() => openSafetensors([file]))).code).toBe('ERR_MOE_CHECKPOINT')
  })

  it('a compressed member of an archive is refused: nothing is decompressed', async () => {
    const dir = temporaryFolder()
    const tensors = new Map([['a', { dtype: 'F32', shape: [1], data: new Uint8Array(4) }]])
    writeFileSync(path.join(dir, 'pytorch_model.bin'), torchFile(tensors, { method: 8 }))
    const error = await failure(() => convertCheckpoint(dir, path.join(dir, 'out')))
    expect(error.code).toBe('ERR_MOE_UNSUPPORTED')
    expect(sources).not.toContain('node:zlib')
  })
})
