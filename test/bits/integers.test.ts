import { afterAll, describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { Random } from '../cases/case.ts'
import { type IntegerName, integerFormats } from '../support/integers.ts'

// With integer weights, and with MXFP4 weights and bf16 rows, a row's outputs depend on the row and the weight alone: not on the rows beside it, on threads,
// nor on the instruction set.

const { isas, isa: best } = native().cpu()
const [K, N, most] = [1300, 130, 131]
const formats = [...(Object.keys(integerFormats) as IntegerName[]), 'mxfp4'] as const

describe.each(formats)('products with %s weights have the same bits', (format) => {
  const random = new Random(3)
  const weight = { ...random.tensor([N, K]), format }
  const x = random.tensor([most, K], format === 'mxfp4' ? 'bf16' : 'f32').data
  afterAll(() => native().selectIsa(best))

  const run = async (first: number, rows: number, threads?: number): Promise<Uint32Array> => {
    const data = x.slice(first * K, (first + rows) * K)
    const { out } = await kernels.linear({ x: { data, shape: [rows, K] }, weight }, { threads })
    return new Uint32Array((out.data as Float32Array).buffer)
  }

  it('on every instruction set', async () => {
    native().selectIsa(isas[0]!)
    const all = await run(0, most)
    for (const isa of isas) {
      native().selectIsa(isa)
      expect(await run(0, most), isa).toEqual(all)
      for (const rows of [1, 2, 3, 5, 97])
        expect(await run(7, rows, 1), `${isa}, ${rows} rows`).toEqual(
          all.slice(7 * N, (7 + rows) * N),
        )
    }
  })
})
