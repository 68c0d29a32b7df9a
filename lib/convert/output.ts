import { copyFile, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'

/** End of the name of a file that is being written. */
const partial = '.moe-native-partial'

const unwritable =
  (file: string) =>
  (cause: NodeJS.ErrnoException): never => {
    const message = `convertCheckpoint: out must be a folder that can be written, got ${cause.code} for ${file}`
    throw new MoeError('ERR_MOE_OPTION', message, { cause })
  }

/**
 * A folder that is written to. Files carry another name until all of them are whole and on the disk, and
 * config.json gets its own last: whatever ends the process before, nobody can take the folder for a checkpoint.
 */
export class Output {
  readonly #dir: string
  /** Topmost folder that was made here. */
  #made: string | undefined
  readonly #files: string[] = []
  #renamed = 0

  constructor(dir: string) {
    this.#dir = dir
  }

  /** Makes the folder; one that is there must be empty but for files of a conversion that was killed. */
  async open(): Promise<void> {
    this.#made = await mkdir(this.#dir, { recursive: true }).catch(unwritable(this.#dir))
    const there = await readdir(this.#dir).catch(unwritable(this.#dir))
    if (there.some((name) => !name.endsWith(partial)))
      badOption('convertCheckpoint', 'out', 'a new or empty folder', this.#dir)
    for (const name of there) await rm(path.join(this.#dir, name)).catch(unwritable(name))
  }

  /** Creates a file; `write` gets a function that appends to it. */
  async file(name: string, write: (append: (b: Uint8Array) => Promise<void>) => Promise<void>) {
    const file = path.join(this.#dir, name + partial)
    const failed = unwritable(file)
    this.#files.push(name)
    const to = await open(file, 'wx').catch(failed)
    try {
      await write((bytes) => to.writeFile(bytes).catch(failed))
      await to.sync().catch(failed)
    } finally {
      await to.close().catch(failed)
    }
  }

  /** Copies a file that can be read. */
  async copy(from: string, name: string): Promise<void> {
    const to = path.join(this.#dir, name + partial)
    this.#files.push(name)
    await copyFile(from, to).catch(unwritable(to))
    // The copy may be read-only, like its source; Windows writes out only what can be written to.
    const flags = process.platform === 'win32' ? 'r+' : 'r'
    const file = await open(to, flags).catch(unwritable(to))
    await file.sync().catch(unwritable(to))
    await file.close()
  }

  /** Gives all files their names. */
  async finish(): Promise<void> {
    this.#files.sort((a, b) => Number(a === 'config.json') - Number(b === 'config.json'))
    for (; this.#renamed < this.#files.length; this.#renamed++) {
      const to = path.join(this.#dir, this.#files[this.#renamed]!)
      await rename(to + partial, to).catch(unwritable(to))
    }
    // The names, too. Not every system can open a folder.
    const folder = await open(this.#dir).catch(() => undefined)
    await folder?.sync().catch(() => {})
    await folder?.close()
  }

  /** Removes what was made here, as far as that is possible. */
  async discard(): Promise<void> {
    for (const [i, name] of this.#files.entries())
      await rm(path.join(this.#dir, i < this.#renamed ? name : name + partial), {
        force: true,
      }).catch(() => {})
    if (this.#made === undefined) return
    const top = path.resolve(this.#made)
    for (let dir = path.resolve(this.#dir); dir.length >= top.length; dir = path.dirname(dir))
      await rmdir(dir).catch(() => {})
  }
}
