import { describe, expect, it } from 'vitest'
import { native, type Tensor } from '../../lib/native.ts'
import { RandomWeights } from '../../lib/weights/random_weights.ts'
import { longestText, type RopeSpec, ropeAngles } from '../../lib/weights/rope.ts'
import { failure } from '../support/files.ts'
import { gpus } from '../support/gpus.ts'

const yarn = { kind: 'yarn', fast: 32, slow: 1, truncate: true, mscaleAllDim: 0 } as const
const longrope: RopeSpec = {
  ...{ kind: 'longrope', theta: 1e6, original: 64, short: [1, 2, 4, 8], long: [3, 6, 9, 12] },
  ...{ shortAttention: 1.25, longAttention: 1.5 },
}

/** Radians a position, and the factor of cosines and sines: of a NumPy program that agrees with the published code. */
const cases: [string, RopeSpec, number[], number?][] = [
  ['default', { kind: 'default', theta: 1e6 }, [1, 0.0316227766016838, 0.001, 3.16227766016838e-5]],
  ['linear', { kind: 'linear', theta: 1e4, factor: 4 }, [0.25, 0.025, 0.0025, 0.00025]],
  [
    'ntk, base 40000',
    { kind: 'ntk', theta: 1e4, factor: 4 },
    [1, 0.0707106781186548, 0.005, 3.53553390593274e-4],
  ],
  [
    'llama3',
    { kind: 'llama3', theta: 5e5, factor: 8, low: 1, high: 4, original: 512 },
    [
      ...[1, 0.193922744748686, 0.0273441373147213, 9.11583092152139e-4],
      ...[1.76776695296637e-4, 3.42810219595259e-5, 6.64786987118124e-6, 1.28917317215156e-6],
    ],
  ],
  [
    'yarn',
    { ...yarn, theta: 1e4, factor: 4, original: 256, fast: 8, attention: 1.138629436111989 },
    [
      ...[1, 0.316227766016838, 0.075, 0.0158113883008419],
      ...[0.0025, 7.90569415042095e-4, 0.00025, 7.90569415042095e-5],
    ],
    1.138629436111989,
  ],
  [
    'yarn that is not truncated',
    { ...yarn, theta: 150000, factor: 32, original: 4096, truncate: false, attention: 1.25 },
    [
      ...[1, 0.225418000202871, 0.0508132748154615, 0.00679495948973222],
      ...[4.56483919223241e-4, 1.81883366816896e-5, 4.09997848180298e-6, 9.2420895024283e-7],
    ],
    1.25,
  ],
  [
    'yarn that ends inside',
    { ...yarn, theta: 1e4, factor: 40, original: 4096, attention: 1, mscaleAllDim: 0.5 },
    [
      ...[1, 0.316227766016838, 0.1, 0.0239147248050234],
      ...[0.005125, 8.49862121170252e-4, 2.5e-5, 7.90569415042095e-6],
    ],
  ],
  ['longrope', longrope, [1, 0.0158113883008419, 0.00025, 3.95284707521047e-6], 1.25],
]

async function read(table: Tensor): Promise<Float32Array> {
  const plan = new (native().Plan)(new (native().Arena)())
  plan.output('table', table)
  return (await plan.run({}, 1)).table as Float32Array
}

describe.each(cases)('%s', (_, rope, radians, factor = 1) => {
  const dim = 2 * radians.length

  it('has the frequencies of the published code', () => {
    const angles = ropeAngles(rope, dim)
    expect(angles.factor).toBe(factor)
    for (const [j, frequency] of angles.frequencies.entries())
      expect((frequency * angles.positionScale) / radians[j]!).toBeCloseTo(1, 12)
  })

  it('fills a table', async () => {
    const weights = new RandomWeights('f32', 1)
    const table = weights.ropeTable(dim, rope)
    expect(weights.ropeTable(dim, { ...rope })).toBe(table)
    expect(weights.ropeTable(dim, { ...rope, theta: rope.theta + 1 })).not.toBe(table)
    weights.positions = 50
    await weights.load()
    const got = await read(table)
    for (let p = 0; p < 50; p++)
      for (const [j, radian] of radians.entries()) {
        expect(got[p * dim + j]).toBeCloseTo(factor * Math.cos(p * radian), 5)
        expect(got[p * dim + radians.length + j]).toBeCloseTo(factor * Math.sin(p * radian), 5)
      }
  })
})

it.skipIf(gpus.length === 0)('a table on a GPU has the bits of one in host memory', async () => {
  const [, rope] = cases[5]!
  const gpu = new (native().Device)('cuda-sim', 0)
  const [here, there] = [new RandomWeights('f32', 1), new RandomWeights('f32', 1, gpu)]
  const tables = [here, there].map((weights) => {
    weights.positions = 33
    return weights.ropeTable(16, rope)
  })
  await Promise.all([here.load(), there.load()])
  const copy = native().tensor([33, 16], 'f32')
  await native().copy(copy, tables[1]!)
  expect(await read(copy)).toEqual(await read(tables[0]!))
})

describe('longrope', () => {
  it('refuses a list of another length', async () => {
    expect(await failure(() => ropeAngles(longrope, 16))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: 'config.json: short_factor must have 8 numbers, got 4',
    })
  })
  it('holds up to the original context', () => {
    expect(longestText(longrope)).toBe(64)
    expect(longestText({ kind: 'default', theta: 1e4 })).toBe(Number.POSITIVE_INFINITY)
  })
})
