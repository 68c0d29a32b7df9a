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

/**
 * The files of a folder, links to files included: a download's cache is made of those. Hidden ones may be anything.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for a link to nothing, and for what is neither a file nor a folder
 */
export async function listFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(unreadable(`${dir}: folder`))
  const isFile = async (name: string): Promise<boolean> => {
    const file = path.join(dir, name)
    const info = await stat(file).catch((cause: NodeJS.ErrnoException) =>
      name.startsWith('.') ? undefined : unreadable(`${file}: file`)(cause),
    )
    if (!info || info.isFile() || info.isDirectory() || name.startsWith('.'))
      return info?.isFile() ?? false
    throw new MoeError('ERR_MOE_CHECKPOINT', `${file}: file must be a regular one, got another`)
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
