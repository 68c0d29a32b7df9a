import { native, type Weight } from '../../lib/native.ts'
import { linear } from '../../lib/ops/index.ts'

/** The nearest bf16, ties to even, of a number of any size; written from the definition, in f64. */
export function bf16Bits(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  if (size === 0 || size === Number.POSITIVE_INFINITY) return sign | (size === 0 ? 0 : 0x7f80)
  let exponent = Math.floor(Math.log2(size))
  if (2 ** exponent > size) exponent-- // a logarithm that was rounded up
  exponent = Math.max(-126, exponent)
  const steps = size / 2 ** (exponent - 7) // exact: a power of two
  const below = Math.floor(steps)
  const rest = steps - below
  const count = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below
  // 128 steps are the next power of two's first number, so that adding up carries by itself.
  const bits = count < 128 ? count : (exponent + 127) * 128 + (count - 128)
  return sign | Math.min(bits, 0x7f80)
}

/** OCP 8-bit floating point, E4M3. */
export function e4m3(code: number): number {
  const [exponent, fraction] = [(code >> 3) & 15, code & 7]
  const magnitude = exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7)
  return (code & 127) === 127 ? Number.NaN : code < 128 ? magnitude : -magnitude
}

/** The values of a packed matrix [N, K], row by row: its product with K unit vectors.
 * A value that is not finite makes the others of its row NaN. */
export async function identityProduct(weight: Weight): Promise<number[]> {
  const { Plan, Arena, tensorFrom } = native()
  const [N, K] = weight.shape as [number, number]
  const unit = Float32Array.from({ length: K * K }, (_, i) => Number(i % (K + 1) === 0))
  const plan = new Plan(new Arena())
  plan.output('out', linear(plan, { x: tensorFrom(unit, [K, K], 'f32'), weight }).out)
  const { out } = await plan.run({}, 1)
  return Array.from({ length: N * K }, (_, i) => out![(i % K) * N + Math.floor(i / K)]!)
}
