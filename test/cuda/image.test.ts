import { describe, expect, it } from 'vitest'
import { kernels } from '../../lib/standalone/kernels.ts'
import { Random } from '../cases/case.ts'
import { simulated } from '../support/gpus.ts'

/** 64 rows by a bf16 matrix: what wgmma is for on sm_90. */
async function product(device: `cuda-sim:${number}`) {
  const random = new Random(3)
  const x = random.tensor([64, 64], 'bf16')
  const { out } = await kernels.linear({ x, weight: random.tensor([128, 64], 'bf16') }, { device })
  return Array.from(out.data)
}

// A build for `90` or `native`, and PTX that a driver compiles, have no wgmma. An empty kernel there would leave its
// outputs unwritten, without an error.
describe.skipIf(!simulated)('an image without wgmma (simulated)', () => {
  const without = async <T>(body: () => Promise<T>): Promise<T> => {
    process.env.MOE_SIM_WGMMA = '0'
    try {
      return await body()
    } finally {
      delete process.env.MOE_SIM_WGMMA
    }
  }

  it('is asked for when the device is opened, and multiplies by mma.sync', async () => {
    expect(await without(() => product('cuda-sim:2'))).toEqual(await product('cuda-sim:4'))
  })

  it('ends the kernel that needs wgmma instead of leaving its outputs unwritten', async () => {
    await product('cuda-sim:0') // opened with wgmma
    const failure = without(() => product('cuda-sim:0'))
    await expect(failure).rejects.toMatchObject({ code: 'ERR_MOE_DEVICE' })
    await expect(failure).rejects.toThrow(/for sm_90a in an image for sm_90/)
  })
})
