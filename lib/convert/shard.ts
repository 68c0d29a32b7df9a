import type { Described } from './safetensors_header.ts'

export type Append = (bytes: Uint8Array) => Promise<void>

/** A file that is written. */
export interface Shard {
  file: string
  tensors: Described[]
  /** By which progress is counted. */
  bytes: number
  /** Appends all of the file; calls `each` behind each piece, which throws when the call was aborted. */
  write(
    append: Append,
    each: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void>
}
