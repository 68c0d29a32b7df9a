import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { HubId } from '../hub_id.ts'
import { readBytes, readJson } from '../weights/json.ts'

// The layout that huggingface_hub defines: models--org--name/{blobs,refs,snapshots}.

const set = (name: string): string | undefined => process.env[name] || undefined

const homeFolder = (): string =>
  set('HF_HOME') ??
  path.join(set('XDG_CACHE_HOME') ?? path.join(os.homedir(), '.cache'), 'huggingface')

/** Where models lie: HF_HUB_CACHE, else in HF_HOME, else in ~/.cache/huggingface. */
export const cacheFolder = (): string =>
  set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE') ?? path.join(homeFolder(), 'hub')

export const isOffline = (): boolean => /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? '')

export const endpoint = (): string =>
  (set('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, '')

/** What the hub lets into private and gated models; HF_TOKEN, else what `hf auth login` has left. */
export function accessToken(): string | undefined {
  const token = set('HF_TOKEN') ?? set('HUGGING_FACE_HUB_TOKEN')
  if (token !== undefined) return token.trim()
  try {
    const file = set('HF_TOKEN_PATH') ?? path.join(homeFolder(), 'token')
    return readFileSync(file, 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}

/** A model's folder in the cache. */
export const storeOf = ({ name }: HubId): string =>
  path.join(cacheFolder(), `models--${name.replace('/', '--')}`)

export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision)

function commitOf(id: HubId): string | undefined {
  if (isCommit(id.revision)) return id.revision
  try {
    return readBytes(path.join(storeOf(id), 'refs', id.revision))
      ?.toString('utf8')
      .trim()
  } catch {
    return undefined
  }
}

/** Whether a snapshot has its configuration, and all the files that its weights are in. */
function isWhole(folder: string): boolean {
  // Links whose file is gone do not exist.
  const has = (name: string) => existsSync(path.join(folder, name))
  if (!has('config.json')) return false
  const files = readdirSync(folder)
  const index = files.find((name) => /\.(safetensors|bin)\.index\.json$/.test(name))
  if (index === undefined)
    return files.some((name) => /\.(safetensors\d*|bin)$/.test(name) && has(name))
  try {
    const map = readJson(path.join(folder, index))?.weight_map
    return Object.values(map as Record<string, string>).every(has)
  } catch {
    return false
  }
}

/** The folder of a model that is in the cache with all of its weights. */
export function cachedSnapshot(id: HubId): string | undefined {
  const commit = commitOf(id)
  if (commit === undefined || !isCommit(commit)) return undefined
  const folder = path.join(storeOf(id), 'snapshots', commit)
  return isWhole(folder) ? folder : undefined
}
