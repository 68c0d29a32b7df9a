import { existsSync } from 'node:fs'
import path from 'node:path'

/** A model of the Hugging Face hub. */
export interface HubId {
  /** `org/name` */
  name: string
  /** A branch, a tag or a commit. */
  revision: string
}

const page = /^(?:hf:\/\/|https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/)/i
const id = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:(?:@|\/tree\/)([\w-][\w./-]*))?\/?$/

/** `org/name`, `org/name@revision`, with `hf://` before it, or the address of its page; undefined for anything else. */
export function readHubId(text: string): HubId | undefined {
  const [, name, revision = 'main'] = id.exec(text.replace(page, '')) ?? []
  if (name === undefined || /(^|\/)\.\.?(\/|$)/.test(revision)) return undefined
  return { name, revision }
}

/** The hub id that a caller means by a path at which there is nothing. */
export function meantHubId(dir: string): HubId | undefined {
  if (existsSync(dir)) return undefined
  // A folder that is there takes part in a path, with a slip in what follows.
  if (!page.test(dir) && existsSync(path.dirname(dir))) return undefined
  return readHubId(dir)
}
