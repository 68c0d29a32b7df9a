// Reads matrices of compressed-tensors' layout by the formulas of its packer, apart from the code that loads them:
//   pack-quantized  w[o, i] = scale[o, i / group] * (nibble(packed[o, i / 8], i mod 8) - 8)
//   int-quantized   w[o, i] = scale[o] * weight[o, i]

import type { StoredTensor } from './files.ts'

const viewOf = ({ data }: StoredTensor) =>
  new DataView(data.buffer, data.byteOffset, data.byteLength)

function fromF16(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
  return bits & 0x8000 ? -size : size
}

/** The weights of a layer, [outputs * inputs]. */
export function readCompressed(
  tensors: ReadonlyMap<string, StoredTensor>,
  layer: string,
): Float64Array {
  const scale = tensors.get(`${layer}.weight_scale`)!
  const scales = viewOf(scale)
  const packed = tensors.get(`${layer}.weight_packed`)
  if (!packed) {
    const values = tensors.get(`${layer}.weight`)!
    const width = values.shape.at(-1)!
    return Float64Array.from(
      new Int8Array(viewOf(values).buffer, viewOf(values).byteOffset, values.data.length),
      (q, i) => q * scales.getFloat32(4 * Math.floor(i / width), true),
    )
  }
  const shape = viewOf(tensors.get(`${layer}.weight_shape`)!)
  const width = Number(shape.getBigInt64(shape.byteLength - 8, true))
  const group = width / scale.shape.at(-1)!
  const words = viewOf(packed)
  return Float64Array.from({ length: packed.data.length * 2 }, (_, at) => {
    const q = (words.getUint32(4 * Math.floor(at / 8), true) >>> (4 * (at % 8))) & 15
    return (q - 8) * fromF16(scales.getUint16(2 * Math.floor(at / group), true))
  })
}
