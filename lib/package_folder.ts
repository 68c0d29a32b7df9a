import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

// Absent in a bundle of CommonJS, where importing must not fail.
const here: string | undefined = import.meta.url
const folder = packageOf(here ? path.dirname(fileURLToPath(here)) : 'lib')
// Electron's archive is a folder for Node's functions only: what native code opens is beside it.
const unpacked = folder.replace(/\.asar(?=[\\/])/, '.asar.unpacked')

/** Where this package lies, with its binaries, demo and page. */
export const packageFolder = existsSync(unpacked) ? unpacked : folder

/** The nearest folder with a package.json, else the one above. */
function packageOf(own: string): string {
  for (let folder = path.resolve(own); ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, 'package.json'))) return folder
    if (folder === path.dirname(folder)) return path.resolve(own, '..')
  }
}
