import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../lib/index.ts'
import { failure, readStored, temporaryFolder } from '../support/files.ts'
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
