import { readFileSync } from 'node:fs'
import path from 'node:path'
import { packageFolder } from './package_folder.ts'

/** Of the package. */
export const readVersion = (): string =>
  JSON.parse(readFileSync(path.join(packageFolder, 'package.json'), 'utf8')).version
