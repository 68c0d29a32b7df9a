/** A tensor as a header describes it. */
export interface Described {
  name: string
  dtype: string
  shape: readonly number[]
  bytes: number
}

/** Length and header of a safetensors file, whose tensors follow in this order. */
export function safetensorsHeader(
  tensors: readonly Described[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
  alignment = 8,
): Uint8Array {
  let at = 0
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = at
    at += bytes
    return [name, { dtype, shape, data_offsets: [begin, at] }] as const
  })
  const json = new TextEncoder().encode(
    JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }),
  )
  const length = Math.ceil((8 + json.length) / alignment) * alignment - 8
  const header = new Uint8Array(8 + length).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true)
  header.set(json, 8)
  return header
}
