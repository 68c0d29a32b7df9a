import { MoeError } from '../errors.ts'
import type { HubId } from '../hub_id.ts'

/** A file of a model, as the hub lists it. */
export interface HubEntry {
  type: string
  path: string
  size: number
  /** Of git: a SHA-1 of the file as a blob. */
  oid: string
  /** Of the file itself, where git has a pointer to it: SHA-256. */
  lfs?: { oid: string; size: number }
}

/** What every call takes. */
export interface HubAccess {
  hubUrl: string
  accessToken?: string
  fetch: typeof fetch
}

/** What is used of `@huggingface/hub`, which is installed apart. */
export interface HubLibrary {
  modelInfo(
    params: HubAccess & { name: string; revision: string; additionalFields: ['sha'] },
  ): Promise<{ sha: string }>
  listFiles(
    params: HubAccess & { repo: string; revision: string; recursive: boolean },
  ): AsyncIterable<HubEntry>
  downloadFile(
    params: HubAccess & { repo: string; revision: string; path: string },
  ): Promise<Blob | null>
}

/** @throws {MoeError} ERR_MOE_CHECKPOINT where it is not installed */
export async function loadLibrary({ name }: HubId): Promise<HubLibrary> {
  try {
    return (await import('@huggingface/hub')) as unknown as HubLibrary
  } catch (cause) {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${name}: must be a folder where @huggingface/hub is not installed, got a model of the Hugging Face hub; ` +
        `npm install @huggingface/hub lets it be downloaded, or download it (hf download ${name} --local-dir ` +
        `${name.split('/').at(-1)}) and give the folder`,
      { cause },
    )
  }
}
