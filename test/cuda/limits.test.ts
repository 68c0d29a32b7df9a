import { describe, expect, it } from 'vitest'
import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, Random } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

const [gpu] = gpus

describe.skipIf(!gpu)('limits of a GPU keep their codes', () => {
  const random = new Random(1)

  it('experts of a grouped GEMM', async () => {
    const G = 513
    const failure = kernels.groupedGemm(
      {
        x: random.tensor([1, 8]),
        offsets: ints([G + 1], (g) => Math.min(g, 1)),
        weights: Array.from({ length: G }, () => random.tensor([8, 8])),
      },
      { device: gpu!.device },
    )
    await expect(failure).rejects.toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
    await expect(failure).rejects.toThrow(/^groupedGemm: .*512 .*513/)
  })

  it('experts of a combine', async () => {
    const failure = kernels.combine(
      {
        expertOut: random.tensor([1, 8]),
        rows: ints([1, 1], () => 0),
        ids: ints([1, 1], () => 0),
        weights: random.tensor([1, 1]),
        residual: random.tensor([1, 8]),
        kinds: Array(1025).fill('ffn'),
      },
      { device: gpu!.device },
    )
    await expect(failure).rejects.toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
    await expect(failure).rejects.toThrow(/^combine: .*1024 .*1025/)
  })
})
