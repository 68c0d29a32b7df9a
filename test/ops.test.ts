import { afterAll, describe, expect, it } from 'vitest'
import type { DeviceName } from '../lib/index.ts'
import { native } from '../lib/native.ts'
import { type ArrayTensor, arrayDType } from '../lib/standalone/kernels.ts'
import { type Expected, type OpCase, Random, toF64, unitRoundoff } from './cases/case.ts'
import { cases } from './cases/index.ts'
import { gpus } from './support/gpus.ts'

/** First number outside its bound, as text; undefined when all are inside. */
function firstWrong(got: ArrayTensor, want: Expected, terms: number): string | undefined {
  const numbers = toF64(got)
  if ('exact' in want) {
    if (numbers.length !== want.exact.length)
      return `${numbers.length} numbers, want ${want.exact.length}`
    for (const [i, value] of numbers.entries())
      if (value !== want.exact[i] && !Object.is(value, want.exact[i]))
        return `at ${i}: ${value}, want ${want.exact[i]}`
    return undefined
  }
  if (numbers.length !== want.value.length)
    return `${numbers.length} numbers, want ${want.value.length}`
  const u = unitRoundoff[arrayDType(got) as 'f32' | 'bf16']
  for (const [i, value] of numbers.entries()) {
    const bound = u * Math.abs(want.value[i]!) + (terms + 1) * unitRoundoff.f32 * want.magnitude[i]!
    // Not `>`: NaN is wrong too, where it is not wanted.
    if (!(Math.abs(value - want.value[i]!) <= bound) && !Object.is(value, want.value[i]))
      return `at ${i}: ${value}, want ${want.value[i]} +- ${bound}`
  }
  return undefined
}

async function check(
  c: OpCase,
  { shape, dtype }: { shape: unknown; dtype: 'f32' | 'bf16' },
  seed: number,
  device: DeviceName,
): Promise<void> {
  const inputs = c.inputs(shape, new Random(seed), dtype)
  const expected = c.reference(inputs, shape)
  const results = await c.run(inputs, { device })
  for (const [name, want] of Object.entries(expected))
    expect(firstWrong(results[name]!, want, c.terms(shape)), name).toBeUndefined()
  // The same bits in every run, and on one thread as on all. One GPU is enough for that.
  if (device !== 'cpu' && device !== gpus[0]!.device) return
  const alone = await c.run(inputs, { device, threads: 1 })
  for (const name of Object.keys(expected))
    expect(alone[name]!.data, name).toEqual(results[name]!.data)
}

const { isas, isa: best } = native().cpu()

const table = (c: OpCase) =>
  c.shapes.flatMap((shape) =>
    c.dtypes.map((dtype) => ({ dtype, shape, name: JSON.stringify(shape) })),
  )

describe.each(isas)('ops on cpu, %s kernels', (isa) => {
  afterAll(() => native().selectIsa(best))

  describe.each(cases)('$op', (c) => {
    it.each(table(c))('$dtype $name', async (shaped) => {
      native().selectIsa(isa)
      for (const seed of [1, 2]) await check(c, shaped, seed, 'cpu')
    })
  })
})

describe.each(gpus)('ops on $name', ({ device }) => {
  describe.each(cases.filter((c) => !c.onlyCpu))('$op', (c) => {
    it.each(table(c))('$dtype $name', (shaped) => check(c, shaped, 1, device))
  })
})

describe.each(cases)('$op rejects', (c) => {
  it.each(c.rejects)('%s', async (_, code, argument, change) => {
    const inputs = c.inputs(c.shapes[0], new Random(1), c.dtypes[0]!)
    const failure = await Promise.resolve()
      .then(() => c.run(change(inputs), {}))
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    expect(failure).toMatchObject({ name: 'MoeError', code })
    expect((failure as Error).message).toMatch(new RegExp(argument))
  })
})
