import {
  access,
  constants,
  copyFile,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
} from 'node:fs/promises'
import path from 'node:path'
import { badOption, MoeError } from '../errors.ts'
import { unreadable } from './folders.ts'

/** End of the name of a file that is being written. */
const partial = '.moe-native-partial'

/**
 * A folder that is written to. Files carry another name until all of them are whole and on the disk, and
 * config.json gets its own last: whatever ends the process before, nobody can take the folder for a checkpoint.
 */
export class Output {
  readonly #where: string
  readonly #dir: string
  /** Topmost folder that was made here. */
  #made: string | undefined
  /** Names of files that were made, and whether they have them yet. */
  readonly #files = new Map<string, boolean>()

  /** @param where the call that writes, for errors */
  constructor(where: string, dir: string) {
    this.#where = where
    this.#dir = dir
  }

  #unwritable(file: string): (cause: NodeJS.ErrnoException) => never {
    return (cause) => {
      const message = `${this.#where}: out must be a folder that can be written, got ${cause.code} for ${file}`
      throw new MoeError('ERR_MOE_OPTION', message, { cause })
    }
  }

  /**
   * Makes the folder; one that is there must be empty but for files of a call that was killed, and those that `isOwn`
   * takes for the caller's.
   */
  async open(isOwn: (name: string) => boolean = () => false): Promise<void> {
    this.#made = await mkdir(this.#dir, { recursive: true }).catch(this.#unwritable(this.#dir))
    const there = await readdir(this.#dir).catch(this.#unwritable(this.#dir))
    if (there.some((name) => !name.endsWith(partial) && !isOwn(name)))
      badOption(this.#where, 'out', 'a new or empty folder', this.#dir)
    for (const name of there.filter((name) => name.endsWith(partial)))
      await rm(path.join(this.#dir, name)).catch(this.#unwritable(name))
  }

  /** Creates a file; `write` gets a function that appends to it. */
  async file(name: string, write: (append: (b: Uint8Array) => Promise<void>) => Promise<void>) {
    const file = path.join(this.#dir, name + partial)
    const failed = this.#unwritable(file)
    this.#files.set(name, false)
    const to = await open(file, 'wx').catch(failed)
    try {
      await write((bytes) => to.writeFile(bytes).catch(failed))
      await to.sync().catch(failed)
    } finally {
      await to.close().catch(failed)
    }
  }

  /** Copies a file. */
  async copy(from: string, name: string): Promise<void> {
    await access(from, constants.R_OK).catch(unreadable(`${from}: file`))
    const to = path.join(this.#dir, name + partial)
    this.#files.set(name, false)
    await copyFile(from, to).catch(this.#unwritable(to))
    // The copy may be read-only, like its source; Windows writes out only what can be written to.
    const flags = process.platform === 'win32' ? 'r+' : 'r'
    const file = await open(to, flags).catch(this.#unwritable(to))
    await file.sync().catch(this.#unwritable(to))
    await file.close()
  }

  /** Writes which of `parts` holds which tensor. */
  async index(
    parts: readonly { file: string; sources: readonly { name: string }[] }[],
    totalBytes: number,
  ): Promise<void> {
    const entries = parts.flatMap(({ file, sources }) => sources.map(({ name }) => [name, file]))
    const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(entries) }
    await this.json('model.safetensors.index.json', index)
  }

  async json(name: string, value: unknown): Promise<void> {
    await this.file(name, (append) => append(Buffer.from(`${JSON.stringify(value, null, 2)}\n`)))
  }

  /** Gives a file its name before the others; with `keep`, all that have theirs stay whatever happens. */
  async publish(name: string, { keep = false } = {}): Promise<void> {
    const to = path.join(this.#dir, name)
    await rename(to + partial, to).catch(this.#unwritable(to))
    this.#files.set(name, true)
    await this.#sync()
    if (!keep) return
    for (const [file, named] of this.#files) if (named) this.#files.delete(file)
    this.#made = undefined
  }

  /** Gives all files their names. */
  async finish(): Promise<void> {
    const waiting = [...this.#files].filter(([, named]) => !named).map(([name]) => name)
    waiting.sort((a, b) => Number(a === 'config.json') - Number(b === 'config.json'))
    for (const name of waiting) {
      const to = path.join(this.#dir, name)
      await rename(to + partial, to).catch(this.#unwritable(to))
      this.#files.set(name, true)
    }
    await this.#sync()
  }

  /** Removes a file that has its name. */
  async remove(name: string): Promise<void> {
    const file = path.join(this.#dir, name)
    await rm(file, { force: true }).catch(this.#unwritable(file))
  }

  /** Puts the names on the disk, too. Not every system can open a folder. */
  async #sync(): Promise<void> {
    const folder = await open(this.#dir).catch(() => undefined)
    await folder?.sync().catch(() => {})
    await folder?.close()
  }

  /** Removes what was made here, as far as that is possible. */
  async discard(): Promise<void> {
    for (const [name, named] of this.#files)
      await rm(path.join(this.#dir, named ? name : name + partial), { force: true }).catch(() => {})
    if (this.#made === undefined) return
    const top = path.resolve(this.#made)
    for (let dir = path.resolve(this.#dir); dir.length >= top.length; dir = path.dirname(dir))
      await rmdir(dir).catch(() => {})
  }
}
