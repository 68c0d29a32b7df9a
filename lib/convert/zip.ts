import type { FileHandle } from 'node:fs/promises'
import { MoeError } from '../errors.ts'

/** A stored (not compressed) member of a zip file. */
export interface ZipMember {
  /** Where its bytes are in the file. */
  offset: number
  bytes: number
}

const signature = {
  end: 0x06054b50,
  end64Locator: 0x07064b50,
  end64: 0x06064b50,
  entry: 0x02014b50,
  local: 0x04034b50,
}

/** Reads `length` bytes at `offset`; a file that ends before is damaged, and so is one that cannot be read there. */
export async function readAt(
  file: FileHandle,
  label: string,
  offset: number,
  length: number,
): Promise<DataView> {
  const damaged = (got: unknown, options?: ErrorOptions): never => {
    const message = `${label}: file must have ${length} bytes at ${offset}, got ${got}`
    throw new MoeError('ERR_MOE_CHECKPOINT', message, options)
  }
  let bytesRead: number
  let bytes: Uint8Array
  try {
    bytes = new Uint8Array(length)
    bytesRead = (await file.read(bytes, 0, length, offset)).bytesRead
  } catch (cause) {
    return damaged(cause, { cause })
  }
  if (bytesRead < length) damaged(bytesRead)
  return new DataView(bytes.buffer)
}

function notZip(label: string, got: string): never {
  throw new MoeError(
    'ERR_MOE_CHECKPOINT',
    `${label}: file must be a zip archive as torch.save writes it, got ${got}`,
  )
}

const u64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true))

/** Where the central directory is, from the records at the end of the file. */
async function findDirectory(file: FileHandle, label: string, size: number): Promise<ZipMember> {
  const length = Math.min(size, 22 + 0xffff)
  const tail = await readAt(file, label, size - length, length)
  let at = length - 22
  while (at >= 0 && tail.getUint32(at, true) !== signature.end) at--
  if (at < 0) notZip(label, 'no end record')
  const directory = { bytes: tail.getUint32(at + 12, true), offset: tail.getUint32(at + 16, true) }
  // Files of 4 GiB and more say so in a second record.
  if (at >= 20 && tail.getUint32(at - 20, true) === signature.end64Locator) {
    const end64 = await readAt(file, label, u64(tail, at - 12), 56)
    if (end64.getUint32(0, true) !== signature.end64) notZip(label, 'a damaged zip64 record')
    return { bytes: u64(end64, 40), offset: u64(end64, 48) }
  }
  return directory
}

/** Size and offset of an entry whose 32-bit fields may point to the zip64 extra field. */
function entryExtent(entry: DataView, extra: number, extraEnd: number): ZipMember {
  let bytes = entry.getUint32(24, true)
  let offset = entry.getUint32(42, true)
  const compressed = entry.getUint32(20, true)
  const wide = [bytes, compressed, offset].filter((field) => field === 0xffffffff).length
  for (let at = extra; at + 4 <= extraEnd; at += 4 + entry.getUint16(at + 2, true)) {
    if (entry.getUint16(at, true) !== 1 || at + 4 + 8 * wide > extraEnd) continue
    let field = at + 4
    if (bytes === 0xffffffff) {
      bytes = u64(entry, field)
      field += 8
    }
    if (compressed === 0xffffffff) field += 8
    if (offset === 0xffffffff) offset = u64(entry, field)
  }
  return { bytes, offset }
}

/**
 * The members of a zip archive, by name.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT when it is damaged, ERR_MOE_UNSUPPORTED when a member is compressed
 */
export async function readZip(file: FileHandle, label: string): Promise<Map<string, ZipMember>> {
  const { size } = await file.stat()
  if (size < 22) notZip(label, `${size} bytes`)
  const { offset, bytes } = await findDirectory(file, label, size)
  if (offset + bytes > size) notZip(label, 'a directory beyond the end')
  const directory = await readAt(file, label, offset, bytes)
  const members = new Map<string, ZipMember>()
  for (let at = 0; at + 46 <= bytes; ) {
    if (directory.getUint32(at, true) !== signature.entry) notZip(label, 'a damaged directory')
    const nameBytes = directory.getUint16(at + 28, true)
    const extraBytes = directory.getUint16(at + 30, true)
    const next = at + 46 + nameBytes + extraBytes + directory.getUint16(at + 32, true)
    if (next > bytes) notZip(label, 'a damaged directory')
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, nameBytes))
    if (directory.getUint16(at + 10, true) !== 0)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${label}: ${name} must be stored, got a compressed member`,
      )
    const entry = new DataView(directory.buffer, at, next - at)
    const extent = entryExtent(entry, 46 + nameBytes, 46 + nameBytes + extraBytes)
    const local = await readAt(file, label, extent.offset, 30)
    if (local.getUint32(0, true) !== signature.local) notZip(label, `no header for ${name}`)
    const start = extent.offset + 30 + local.getUint16(26, true) + local.getUint16(28, true)
    if (start + extent.bytes > size) notZip(label, `${name} beyond the end`)
    members.set(name, { offset: start, bytes: extent.bytes })
    at = next
  }
  return members
}
