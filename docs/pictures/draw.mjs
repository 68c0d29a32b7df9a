// The pictures of docs/kernels.md.
//   node docs/pictures/draw.mjs            write docs/pictures/kernels
//   node docs/pictures/draw.mjs --check    fail where they are others
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import routing from './routing.mjs'
import rows from './rows.mjs'

const folder = new URL('kernels/', import.meta.url)
const check = process.argv.includes('--check')
mkdirSync(folder, { recursive: true })
for (const [name, svg] of Object.entries({ ...routing, ...rows })) {
  const file = new URL(`${name}.svg`, folder)
  if (!check) writeFileSync(file, svg)
  else if (readFileSync(file, 'utf8') !== svg)
    throw new Error(`docs/pictures/kernels/${name}.svg: node docs/pictures/draw.mjs`)
}
