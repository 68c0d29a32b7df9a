// Writes PyTorch checkpoints as torch.save does: a zip of stored members around a protocol-2 pickle.

import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { copyCheckpoint, readStored, type StoredTensor } from './files.ts'
import { fixture } from './golden.ts'

const storages: Record<string, string> = {
  F32: 'FloatStorage',
  F16: 'HalfStorage',
  BF16: 'BFloat16Storage',
  I64: 'LongStorage',
}
const bytesOf: Record<string, number> = { F32: 4, F16: 2, BF16: 2, I64: 8 }

const u16 = (n: number) => [n & 255, n >> 8]
const u32 = (n: number) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, n >>> 24]
const ascii = (text: string) => [...Buffer.from(text)]
const text = (value: string) => [0x58, ...u32(Buffer.byteLength(value)), ...ascii(value)]
const int = (n: number) => (n < 256 ? [0x4b, n] : n < 65536 ? [0x4d, ...u16(n)] : [0x4a, ...u32(n)])
const global = (module: string, name: string) => [0x63, ...ascii(`${module}\n${name}\n`)]
const tuple = (items: number[][]) => [0x28, ...items.flat(), 0x74]

/** The pickle of an OrderedDict of tensors. */
export function pickleStateDict(tensors: Map<string, StoredTensor>): number[] {
  const items = [...tensors].flatMap(([name, { dtype, shape, data }], key) => {
    const stride = shape.map((_, i) => shape.slice(i + 1).reduce((n, dim) => n * dim, 1))
    const storage = [
      ...tuple([
        text('storage'),
        global('torch', storages[dtype]!),
        text(String(key)),
        text('cpu'),
        int(data.length / bytesOf[dtype]!),
      ]),
      0x51,
    ]
    const hooks = [...global('collections', 'OrderedDict'), 0x29, 0x52]
    const args = tuple([
      storage,
      int(0),
      tuple(shape.map(int)),
      tuple(stride.map(int)),
      [0x89],
      hooks,
    ])
    return [
      ...text(name),
      0x71,
      key % 256,
      ...global('torch._utils', '_rebuild_tensor_v2'),
      ...args,
      0x52,
    ]
  })
  const metadata = [0x7d, ...text('_metadata'), 0x7d, 0x73, 0x62] // an attribute, set by BUILD
  return [
    0x80,
    2,
    ...global('collections', 'OrderedDict'),
    0x29,
    0x52,
    0x28,
    ...items,
    0x75,
    ...metadata,
    0x2e,
  ]
}

/** A zip archive of stored members; `zip64` writes sizes and offsets as for files of 4 GiB and more. */
export function zip(members: [string, Uint8Array][], { zip64 = false, method = 0 } = {}): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  const u64 = (n: number) => [...u32(n), 0, 0, 0, 0]
  for (const [name, data] of members) {
    const padding = (64 - ((at + 30 + name.length + 4) % 64)) % 64
    const localExtra = Buffer.from([
      ...u16(0x4246),
      ...u16(padding),
      ...new Array<number>(padding).fill(0x5a),
    ])
    const local = Buffer.from([
      ...[...u32(0x04034b50), ...u16(20), ...u16(0), ...u16(method), ...u32(0), ...u32(0)],
      ...[
        ...u32(data.length),
        ...u32(data.length),
        ...u16(name.length),
        ...u16(localExtra.length),
        ...ascii(name),
      ],
    ])
    const [size, offset] = zip64 ? [0xffffffff, 0xffffffff] : [data.length, at]
    const extra = zip64
      ? [...u16(1), ...u16(24), ...u64(data.length), ...u64(data.length), ...u64(at)]
      : []
    directory.push(
      Buffer.from([
        ...[
          ...u32(0x02014b50),
          ...u16(20),
          ...u16(20),
          ...u16(0),
          ...u16(method),
          ...u32(0),
          ...u32(0),
          ...u32(size),
          ...u32(size),
        ],
        ...[
          ...u16(name.length),
          ...u16(extra.length),
          ...u16(0),
          ...u16(0),
          ...u16(0),
          ...u32(0),
          ...u32(offset),
          ...ascii(name),
          ...extra,
        ],
      ]),
    )
    parts.push(local, localExtra, Buffer.from(data))
    at += local.length + localExtra.length + data.length
  }
  const size = directory.reduce((n, entry) => n + entry.length, 0)
  const n = members.length
  const end64 = zip64
    ? [
        ...[
          ...u32(0x06064b50),
          ...u64(44),
          ...u16(45),
          ...u16(45),
          ...u32(0),
          ...u32(0),
          ...u64(n),
          ...u64(n),
          ...u64(size),
          ...u64(at),
        ],
        ...[...u32(0x07064b50), ...u32(0), ...u64(at + size), ...u32(1)],
      ]
    : []
  const end = [
    ...u32(0x06054b50),
    ...u16(0),
    ...u16(0),
    ...u16(n),
    ...u16(n),
    ...u32(zip64 ? 0xffffffff : size),
    ...u32(zip64 ? 0xffffffff : at),
    ...u16(0),
  ]
  return Buffer.concat([...parts, ...directory, Buffer.from(end64), Buffer.from(end)])
}

/** A file as torch.save writes a state dictionary. */
export function torchFile(
  tensors: Map<string, StoredTensor>,
  options: { zip64?: boolean; method?: number; pickle?: number[] } = {},
): Buffer {
  const data = [...tensors.values()].map((tensor, key): [string, Uint8Array] => [
    `archive/data/${key}`,
    tensor.data,
  ])
  const pickle = Uint8Array.from(options.pickle ?? pickleStateDict(tensors))
  return zip(
    [
      ['archive/data.pkl', pickle],
      ['archive/byteorder', Buffer.from('little')],
      ...data,
      ['archive/version', Buffer.from('3\n')],
    ],
    options,
  )
}

/** A checkpoint with its weights in one or more PyTorch files. */
export function pytorchCheckpoint(parts = 1, options = {}): string {
  const dir = copyCheckpoint(fixture('golden/moepp/base-bf16'))
  const tensors = [...readStored(path.join(dir, 'model.safetensors'))]
  rmSync(path.join(dir, 'model.safetensors'))
  const per = Math.ceil(tensors.length / parts)
  for (let i = 0; i < parts; i++) {
    const name =
      parts === 1 ? 'pytorch_model.bin' : `pytorch_model-0000${i + 1}-of-0000${parts}.bin`
    writeFileSync(
      path.join(dir, name),
      torchFile(new Map(tensors.slice(i * per, (i + 1) * per)), options),
    )
  }
  if (parts > 1) writeFileSync(path.join(dir, 'pytorch_model.bin.index.json'), '{}')
  return dir
}
