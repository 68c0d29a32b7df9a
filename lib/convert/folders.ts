import { readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'

const weightFile = /\.(bin|safetensors\d*|pt|pth|gguf|index)$|\.data-\d+-of-\d+$|\.index\.json$|^\./

/** What is converted, or must not be copied beside the result. */
export const isWeights = (name: string): boolean => weightFile.test(name)

export const unreadable =
  (what: string) =>
  (cause: NodeJS.ErrnoException): never => {
    const message = `${what} must be readable, got ${cause.code}`
    throw new MoeError('ERR_MOE_CHECKPOINT', message, { cause })
  }

/** What a checkpoint may not go without; a link to a picture may lead nowhere. */
const needed = /^[^.].*\.(json|jinja|model|bin|index|data-\d+-of-\d+)$/

/**
 * The files of a folder, links to files included: a download's cache is made of those.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for what a checkpoint needs and is a link to nothing, or neither file nor folder
 */
export async function listFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(unreadable(`${dir}: folder`))
  const isFile = async (name: string): Promise<boolean> => {
    const file = path.join(dir, name)
    const info = await stat(file).catch((cause: NodeJS.ErrnoException) =>
      needed.test(name) ? unreadable(`${file}: file`)(cause) : undefined,
    )
    if (info && needed.test(name) && !info.isFile() && !info.isDirectory())
      throw new MoeError('ERR_MOE_CHECKPOINT', `${file}: file must be a regular one, got another`)
    return info?.isFile() ?? false
  }
  const files = await Promise.all(names.map(isFile))
  return names.filter((_, i) => files[i])
}

export function checkPath(where: string, name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '' || value.includes('\0'))
    badOption(where, name, 'a path of a folder', value)
}

/** The path without links, as far as it exists. */
async function realPath(file: string): Promise<string> {
  const parent = path.dirname(file)
  return realpath(file).catch(async () =>
    parent === file ? file : path.join(await realPath(parent), path.basename(file)),
  )
}

/** Whether `file` is `dir` or something in it, wherever links lead. */
export async function isInside(file: string, dir: string): Promise<boolean> {
  const [inner, outer] = [await realPath(path.resolve(file)), await realPath(path.resolve(dir))]
  return inner === outer || inner.startsWith(outer + path.sep)
}
