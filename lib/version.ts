import { readFileSync } from 'node:fs'

const file = new URL('../package.json', import.meta.url)

/** Of the package. */
export const readVersion = (): string => JSON.parse(readFileSync(file, 'utf8')).version
