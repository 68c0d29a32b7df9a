import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from './support/golden.ts'

const files = (folder: string): string[] =>
  readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))

const includes = (file: string): string[] =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(/#include [<"]([^>"]+)[>"]/g)].map(
    (m) => m[1]!,
  )

const imports = (file: string): string[] =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(/from '(\.[^']+)'/g)].map((m) =>
    path.relative(root, path.resolve(root, path.dirname(file), m[1]!)),
  )

/** The folders of csrc; a file includes its own and those above it. */
const rooms = ['core', 'weights', 'ops', 'fused', 'cpu', 'binding']

/** The folders of lib, likewise. */
const libRooms = [
  ...['ops', 'weights', 'hub', 'routers', 'layers', 'models', 'adapters', 'tokenizer', 'chat'],
  'constraints',
  ...['engine', 'vision', 'standalone', 'convert', 'bench', 'server', 'cli'],
]

/** Files under `folder` that refer to something that `matches`. */
const offenders = (folder: string, refers: (file: string) => string[], matches: RegExp): string[] =>
  files(folder).filter((file) => refers(file).some((target) => matches.test(target)))

describe('layers', () => {
  it('napi.h is included in csrc/binding only', () => {
    expect(
      offenders('csrc', includes, /napi/).filter((f) => !f.startsWith('csrc/binding/')),
    ).toEqual([])
  })
  it('no CUDA header in csrc', () => expect(offenders('csrc', includes, /cuda/)).toEqual([]))
  it('kernels of an instruction set use no C++ library', () => {
    const units = files('csrc/cpu/isa').filter((file) => !path.basename(file).startsWith('select'))
    // ops/glu.h: four numbers, without a function.
    const allowed =
      /^(stddef\.h|stdint\.h|string\.h|immintrin\.h|arm_neon\.h|cpu\/isa\/|ops\/glu\.h$)/
    expect(units.filter((file) => includes(file).some((target) => !allowed.test(target)))).toEqual(
      [],
    )
  })
  it('every folder of lib is a room', () => {
    const folders = files('lib').map((file) => file.split(path.sep))
    expect(new Set(folders.filter(({ length }) => length > 2).map(([, room]) => room))).toEqual(
      new Set(libRooms),
    )
  })
  it.each(libRooms)('lib/%s imports nothing below it', (room) => {
    const below = libRooms.slice(libRooms.indexOf(room) + 1)
    const matches = new RegExp(`^lib/(${below.join('|')})/`)
    expect(below.length === 0 ? [] : offenders(`lib/${room}`, imports, matches)).toEqual([])
  })
  it('every folder of csrc is a room', () =>
    expect(new Set(files('csrc').map((file) => file.split(path.sep)[1]))).toEqual(new Set(rooms)))
  it.each(rooms)('csrc/%s includes nothing below it', (room) => {
    const below = rooms.slice(rooms.indexOf(room) + 1)
    expect(offenders(`csrc/${room}`, includes, new RegExp(`^(${below.join('|')})/`))).toEqual([])
  })
  it('what systems differ in is in os_*.cc', () => {
    const system = /^\s*#\s*(?:el)?if.*(_WIN32|__linux__|__APPLE__|__MINGW32__|__unix__)/m
    const asks = files('csrc').filter((file) =>
      system.test(readFileSync(path.join(root, file), 'utf8')),
    )
    expect(asks.filter((file) => !/^csrc\/core\/os_\w+\.cc$/.test(file))).toEqual([])
  })
  it('types are not told apart by their size', () => {
    const asks = (file: string) => /sizeof\(\w+\) [!=]= /.test(readFileSync(file, 'utf8'))
    expect(files('csrc').filter((file) => asks(path.join(root, file)))).toEqual([])
  })
  it('no file is longer than 400 lines', () => {
    const lines = (file: string) => readFileSync(path.join(root, file), 'utf8').split('\n').length
    for (const folder of ['lib', 'csrc', 'cuda'])
      expect(files(folder).filter((file) => lines(file) > 400)).toEqual([])
  })
  it('graphs call ops, not the addon', () => {
    const values = (file: string) =>
      [
        ...readFileSync(path.join(root, file), 'utf8').matchAll(
          /import \{([^}]*)\} from '\.\.\/native\.ts'/g,
        ),
      ].map((m) => m[1]!)
    for (const folder of ['lib/models', 'lib/layers', 'lib/routers'])
      expect(offenders(folder, values, /\bnative\b/)).toEqual([])
  })
  it('imports have no cycles', () => {
    const done = new Set<string>()
    const visit = (file: string, above: string[]): void => {
      if (above.includes(file))
        throw new Error(`cycle: ${[...above.slice(above.indexOf(file)), file].join(' -> ')}`)
      if (done.has(file)) return
      for (const target of valueImports(file)) visit(target, [...above, file])
      done.add(file)
    }
    for (const file of files('lib')) visit(file, [])
  })
})

/** Imports that exist at run time; types may refer to each other. */
function valueImports(file: string): string[] {
  const source = readFileSync(path.join(root, file), 'utf8')
  return [...source.matchAll(/^(?:import|export) (?!type )([^;]*?)from '(\.[^']+)'/gms)].map((m) =>
    path.relative(root, path.resolve(root, path.dirname(file), m[2]!)),
  )
}
