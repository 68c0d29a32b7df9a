import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { ExtData, encode } from '@msgpack/msgpack'
import { describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../lib/index.ts'
import { copyCheckpoint, failure, readStored, temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { type VmoeOptions, vmoeCheckpoint } from '../support/vmoe_files.ts'

const folder = 'top2-token-f32'
const weights = 'model.safetensors'

async function converted(dir: string): Promise<string> {
  const out = path.join(temporaryFolder(), 'out')
  await convertCheckpoint(dir, out)
  return out
}
const refused = (options: VmoeOptions) => failure(() => converted(vmoeCheckpoint(folder, options)))

describe('convert of google-research/vmoe', () => {
  it('joins the chunks of all shards and leaves the training state out', async () => {
    const dir = vmoeCheckpoint(folder)
    rmSync(path.join(dir, weights))
    const out = await converted(dir)
    const [got, want] = [
      readStored(path.join(out, weights)),
      readStored(fixture('golden/vision', folder, weights)),
    ]
    expect([...got.keys()].sort()).toEqual([...want.keys()].sort())
    for (const [name, tensor] of want) expect(got.get(name)).toEqual(tensor)
    expect(readdirSync(out).filter((name) => /\.(index|data)/.test(name))).toEqual([])
  })

  it('refuses chunks that are not the tensor, and dtypes that safetensors has not', async () => {
    const kernel = 'head/kernel'
    const moved = await refused({
      slices: (name, slices) => (name === kernel ? slices.map(([a, b]) => [a + 1, b + 1]) : slices),
    })
    expect(moved).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringContaining(kernel),
    })
    const twice = await refused({
      slices: (name, slices) => (name === kernel ? slices.map(([a, b]) => [0, b - a]) : slices),
    })
    expect(twice).toMatchObject({ message: expect.stringContaining('got some twice') })
    const complex = await refused({ dtype: 'complex64' })
    expect(complex).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED', message: /complex64/ })
  })

  // Of a checkpoint of one tensor [1] of one value.
  const axis = encode([encode([0, 1, null])])
  const info = (shape: number[], dtype: string) =>
    new ExtData(8, encode([encode([shape, dtype, false, {}]), [axis], [0]]))
  const value = new ExtData(1, encode([[1], 'float32', new Uint8Array(4)]))
  const chunk = (slices: unknown) => [[[value], slices]]
  const whole = chunk(new ExtData(6, axis))

  it.each<[string, unknown, unknown, string]>([
    ['no slices', info([1], 'float32'), chunk([null]), 'chunk must be arrays and slices'],
    ['a slice below 0', info([1], 'float32'), chunk([[-1, 0]]), 'chunk must be arrays and slices'],
    ['an empty slice', info([1], 'float32'), chunk([[1, 1]]), 'chunk must be arrays and slices'],
    ['half a slice', info([1], 'float32'), chunk([[1]]), 'chunk must be arrays and slices'],
    ['axes without end', info(Array(50_000).fill(1), 'float32'), whole, 'at most 16 axes'],
    ['a name that objects have', info([1], 'constructor'), whole, 'got constructor'],
  ])('refuses %s', async (_, a, chunks, message) => {
    const dir = copyCheckpoint(fixture('golden/vision', folder))
    writeFileSync(path.join(dir, 'x.index'), encode({ shard_count: 1, index: { a } }))
    const shard = { __msgpack_array_chunk_a87ca2__: true, 0: chunks }
    writeFileSync(path.join(dir, 'x.data-00000-of-00001'), encode(shard))
    expect(await failure(() => converted(dir))).toMatchObject({
      ...{ name: 'MoeError', message: expect.stringContaining(message) },
    })
  })

  it('refuses damaged files by name', async () => {
    const dir = vmoeCheckpoint(folder)
    const shard = path.join(dir, 'ckpt_1.data-00001-of-00002')
    const bytes = readFileSync(shard)
    for (const [damage, what] of [
      [() => truncateSync(shard, 1000), /must be the msgpack/],
      [() => writeFileSync(shard, Buffer.from([0x80])), /a shard of array chunks/],
      [() => rmSync(shard), /must be readable/],
    ] as const) {
      writeFileSync(shard, bytes)
      damage()
      const error = await failure(() => converted(dir))
      expect(error).toMatchObject({ code: 'ERR_MOE_CHECKPOINT', message: what })
      expect(error.message).toContain(path.basename(shard))
    }
  })
})
