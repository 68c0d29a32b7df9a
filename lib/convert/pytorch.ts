import type { FileHandle } from 'node:fs/promises'
import { MoeError } from '../errors.ts'
import { elementBytes } from '../weights/safetensors.ts'
import { type PickledTensor, readStateDict } from './pickle.ts'
import { readAt, readZip } from './zip.ts'

/** A tensor and where in the file its bytes are. */
export interface Source {
  name: string
  dtype: string
  shape: number[]
  offset: number
  bytes: number
}

function isContiguous({ shape, stride }: PickledTensor): boolean {
  let expected = 1
  return shape.every((_, i) => {
    const at = shape.length - 1 - i
    const ok = shape[at] === 1 || stride[at] === expected
    expected *= shape[at]!
    return ok
  })
}

/** Tensors may share bytes, as tied weights do; a file of many times its size is not written. */
const maxGrowth = 8

function checkGrowth(label: string, sources: Source[], fileBytes: number): void {
  const bytes = sources.reduce((n, source) => n + source.bytes, 0)
  if (bytes > maxGrowth * fileBytes)
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: tensors must be at most ${maxGrowth} times the file of ${fileBytes} bytes, got ${bytes} bytes`,
    )
}

/** Where each tensor of a PyTorch file has its bytes. */
export async function readPyTorch(file: FileHandle, label: string): Promise<Source[]> {
  const members = await readZip(file, label)
  const pickleName = [...members.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (!pickleName)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: archive must hold data.pkl, got ${members.size} other members`,
    )
  const prefix = pickleName.slice(0, -'data.pkl'.length)
  const order = members.get(`${prefix}byteorder`)
  if (order) {
    const text = new TextDecoder().decode(await readAt(file, label, order.offset, order.bytes))
    if (text !== 'little')
      throw new MoeError('ERR_MOE_UNSUPPORTED', `${label}: byteorder must be little, got ${text}`)
  }
  const pickle = members.get(pickleName)!
  const tensors = readStateDict(label, await readAt(file, label, pickle.offset, pickle.bytes))
  const sources = [...tensors].map(([name, tensor]) => {
    const { dtype, key } = tensor.storage
    const size = elementBytes[dtype]!
    const bytes = size * tensor.shape.reduce((n, dim) => n * dim, 1)
    const member = members.get(`${prefix}data/${key}`)
    if (name === '__metadata__')
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${label}: tensor __metadata__ must have another name, which safetensors keeps for itself`,
      )
    if (!isContiguous(tensor))
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${label}: tensor ${name} must be contiguous, got strides ${tensor.stride}`,
      )
    if (!member || !(size * tensor.offset + bytes <= member.bytes))
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${label}: tensor ${name} must be inside data/${key}, got ${member?.bytes ?? 'no'} bytes`,
      )
    return { name, dtype, shape: tensor.shape, offset: member.offset + size * tensor.offset, bytes }
  })
  checkGrowth(label, sources, (await file.stat()).size)
  return sources
}
