// npm run build:ts, behind tsc, which writes the declarations: lib as JavaScript in dist. Modules that are always loaded
// together share a file, since Node takes about half a millisecond for each; names of functions stay as they are.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const dist = path.join(root, 'dist')

function files(folder, wanted) {
  const names = readdirSync(path.join(root, folder), { recursive: true })
  const own = names.filter((name) => wanted.test(name) && !/node_modules|fixtures/.test(name))
  return own.map((name) => path.join(root, folder, name))
}

/** What the package exports and runs; a file stays where lib/constraints/matcher_thread.ts looks for the thread. */
const entries = {
  index: 'index.ts',
  'server/index': 'server/index.ts',
  'cli/main': 'cli/main.ts',
  matcher_worker: 'constraints/matcher_worker.js',
}
/** What benchmarks, scripts and tests import besides: whatever of `dist` they name. */
const internals = new Set(
  ['bench', 'scripts', 'test']
    .flatMap((folder) => files(folder, /\.(mjs|ts)$/))
    .flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\bdist\/([\w/]+)\.js\b/g)])
    .map(([, name]) => name)
    .filter((name) => existsSync(path.join(root, 'lib', `${name}.ts`))),
)

const { metafile } = await build({
  entryPoints: Object.entries({
    ...entries,
    ...Object.fromEntries([...internals].map((name) => [name, `${name}.ts`])),
  }).map(([out, file]) => ({ out, in: path.join(root, 'lib', file) })),
  ...{ outdir: dist, absWorkingDir: root, metafile: true, logLevel: 'warning' },
  ...{ bundle: true, splitting: true, packages: 'external', sourcemap: true, keepNames: true },
  ...{ format: 'esm', platform: 'node', target: 'node20.19' },
})

// Names of shared files have a hash: those of the build before are left over.
const written = new Set(Object.keys(metafile.outputs).map((file) => path.resolve(root, file)))
for (const file of files('dist', /\.js(\.map)?$/)) if (!written.has(file)) rmSync(file)
