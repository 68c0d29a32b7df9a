import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { badOption, MoeError } from '../errors.ts'
import { meantHubId } from '../hub_id.ts'
import { readBytes, readJson } from './json.ts'

// What people give in place of a checkpoint folder, and the sentence that helps. All of it fails later, too, in words
// about headers and missing files.

const fail = (message: string): never => {
  throw new MoeError('ERR_MOE_CHECKPOINT', message)
}

/** A URL's text; undefined for anything else, also for objects that answer nothing. */
function hrefOf(value: unknown): string | undefined {
  try {
    return value instanceof URL ? value.href : undefined
  } catch {
    return undefined
  }
}

/** The path that `dir` means: a path as it is, or a `file:` URL. */
function pathOf(where: string, dir: unknown): string {
  const text = typeof dir === 'string' ? dir : hrefOf(dir)
  if (text === undefined || text === '' || text.includes('\0'))
    return badOption(where, 'dir', 'the path of a folder', dir)
  if (text === dir && !/^file:/i.test(text)) return text
  try {
    return fileURLToPath(text)
  } catch {
    return badOption(where, 'dir', 'the path of a folder or a file: URL', text)
  }
}

const hubCommands = (id: string) =>
  `npx moe-native pull ${id}, or hf download ${id} --local-dir ${id.split('/').at(-1)}`

/** Why there is nothing at this path. */
function explainNothing(dir: string): never {
  const id = meantHubId(dir)
  if (id)
    fail(
      `${dir}: folder must exist, got nothing there; this looks like a model of the Hugging Face hub: ` +
        `download it first (${hubCommands(id.name)}) and give its folder`,
    )
  if (/^\w+:\/\//.test(dir))
    fail(`${dir}: must be a folder of this machine, got a URL; download the files first`)
  if (dir.startsWith('~/'))
    fail(
      `${dir}: folder must exist, got nothing there; only shells replace ~: write the path in full`,
    )
  return fail(
    `${dir}: folder must exist, got nothing there${path.isAbsolute(dir) ? '' : `, seen from ${process.cwd()}`}`,
  )
}

/** The first bytes of a file as text; empty where it cannot be read. */
function beginning(file: string): string {
  try {
    const info = statSync(file)
    if (!info.isFile() || info.size === 0) return ''
    const handle = openSync(file, 'r')
    try {
      const bytes = Buffer.alloc(256)
      return bytes.toString('latin1', 0, readSync(handle, bytes, 0, bytes.length, 0))
    } finally {
      closeSync(handle)
    }
  } catch {
    return ''
  }
}

const ggufText =
  "which is llama.cpp's format; the published checkpoint is needed: config.json with model*.safetensors"

/** What a file is that was given for a folder. */
function explainFile(file: string): never {
  if (/\.gguf$/i.test(file) || beginning(file).startsWith('GGUF'))
    fail(`${file}: must be a folder, got a GGUF file, ${ggufText}`)
  return fail(`${file}: must be a folder, got a file; give the folder that it is in`)
}

const readable = /\.(json|safetensors|bin|model|pth?|index)$|\.safetensors\d+$/

/** Files that are not what their name says: a clone without Git LFS, a page that was saved. */
function checkContents(dir: string, files: string[]): void {
  for (const file of files.filter((name) => readable.test(name))) {
    const label = path.join(dir, file)
    const text = beginning(label)
    if (text.startsWith('version https://git-lfs.github.com/spec/')) {
      const size = /\nsize (\d+)/.exec(text)?.[1]
      fail(
        `${label}: must be the file itself, got a Git LFS pointer to it${size ? ` (${size} bytes)` : ''}; ` +
          'run `git lfs install` and `git lfs pull` in the folder, or download the file',
      )
    }
    if (/^\s*<(!doctype html|html)/i.test(text))
      fail(`${label}: must be the file itself, got a web page; download the file again`)
  }
}

const textOf = (file: string): string | undefined => {
  try {
    return readBytes(file)?.toString('utf8').trim()
  } catch {
    return undefined
  }
}

/** Where the snapshots of a model in the hub's cache are, if this is such a folder. */
function explainHubCache(dir: string, files: string[]): void {
  const inside = path.basename(dir) === 'snapshots'
  for (const cache of [dir, path.join(dir, 'hub')]) {
    const model = subfolders(cache).find((name) => name.startsWith('models--'))
    if (model)
      fail(
        `${dir}: must be a checkpoint folder, got the cache of the hub; ` +
          `give a snapshot in it, such as ${path.join(cache, model, 'snapshots', '<revision>')}`,
      )
  }
  if (!inside && !files.includes('snapshots')) return
  const snapshots = inside ? dir : path.join(dir, 'snapshots')
  const revisions = subfolders(snapshots)
  const main = textOf(path.join(snapshots, '..', 'refs', 'main'))
  const revision = main && revisions.includes(main) ? main : revisions[0]
  fail(
    `${dir}: must be a checkpoint folder, got a model's folder in the cache of the hub; ` +
      (revision ? `give ${path.join(snapshots, revision)}` : 'it holds no snapshot: download it'),
  )
}

function subfolders(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
      .map(({ name }) => name)
      .sort()
  } catch {
    return []
  }
}

/** The model that an adapter was trained on, as it says. */
function baseOf(dir: string): string {
  try {
    const base = readJson(path.join(dir, 'adapter_config.json'))?.base_model_name_or_path
    return typeof base === 'string' && base.length <= 200 ? ` ${base}` : ''
  } catch {
    return ''
  }
}

/** What a folder is that holds no checkpoint. */
function explainFolder(dir: string, files: string[]): void {
  explainHubCache(dir, files)
  const gguf = files.find((name) => /\.gguf$/i.test(name))
  if (gguf) fail(`${dir}: must hold a checkpoint, got a GGUF file (${gguf}), ${ggufText}`)
  if (files.includes('adapter_config.json'))
    fail(
      `${dir}: must hold a checkpoint, got a LoRA adapter; load its base model${baseOf(dir)} and give this folder ` +
        'to its loadAdapter, or on a command line to --adapter',
    )
  if (files.includes('params.json') || files.some((name) => /^consolidated\./.test(name)))
    fail(
      `${dir}: must hold config.json and model*.safetensors, got Mistral's original layout ` +
        '(params.json, consolidated.*); download the files of the Hugging Face layout, or convert with ' +
        "transformers' convert_mixtral_weights_to_hf.py",
    )
  if (files.includes('config.json')) return
  const nested = subfolders(dir).find((name) => textOf(path.join(dir, name, 'config.json')))
  if (nested) fail(`${dir}: must hold config.json, got none; give ${path.join(dir, nested)}`)
}

/** Names of files that may hold the weights. */
export const weightFile = /^(?!consolidated|adapter_).*\.(safetensors\d*|bin)$/

/** What is in a folder; undefined where it cannot be read. */
function listed(dir: string): string[] | undefined {
  try {
    const info = statSync(dir, { throwIfNoEntry: false })
    if (!info) return explainNothing(dir)
    if (!info.isDirectory()) return explainFile(dir)
    return readdirSync(dir).sort()
  } catch (error) {
    if (error instanceof MoeError) throw error
    return undefined
  }
}

/**
 * The folder of an adapter that a caller's `dir` means; its files are those that their names say.
 *
 * @throws {MoeError} as checkpointFolder
 */
export function adapterFolder(where: string, given: unknown): string {
  const dir = pathOf(where, given)
  checkContents(dir, listed(dir) ?? [])
  return dir
}

/**
 * The folder that a caller's `dir` means, once it is not one of the usual mistakes.
 *
 * @throws {MoeError} ERR_MOE_OPTION where it is no path, ERR_MOE_CHECKPOINT with the sentence that helps
 */
export function checkpointFolder(where: string, given: unknown): string {
  const dir = pathOf(where, given)
  const files = listed(dir)
  if (!files) return dir // whoever opens it says what is wrong
  checkContents(dir, files)
  const weights = files.some((name) => weightFile.test(name))
  if (!files.includes('config.json') || !weights) explainFolder(dir, files)
  return dir
}
