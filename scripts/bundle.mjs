// npm run build:ts, behind tsc, which writes the declarations: lib as JavaScript, in dist as the package has it. Modules that
// are always loaded together share a file there, since Node takes about half a millisecond for each; names of functions stay
// as they are. build/modules has each module on its own, for benchmarks, scripts and tests that want more than is exported.
import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const lib = path.join(root, 'lib')
const shared = {
  ...{ absWorkingDir: root, metafile: true, logLevel: 'warning', sourcemap: true },
  ...{ format: 'esm', platform: 'node', target: 'node20.19' },
}

/** What the package exports and runs; a file stays where lib/constraints/matcher_thread.ts looks for the thread. */
const entries = {
  index: 'index.ts',
  'server/index': 'server/index.ts',
  'cli/main': 'cli/main.ts',
  matcher_worker: 'constraints/matcher_worker.js',
}
const dist = path.join(root, 'dist')
const bundled = await build({
  ...shared,
  entryPoints: Object.entries(entries).map(([out, file]) => ({ out, in: path.join(lib, file) })),
  outdir: dist,
  ...{ bundle: true, splitting: true, packages: 'external', keepNames: true },
})

// Each import names the file beside it.
const relative = {
  name: 'relative imports',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\// }, ({ path: name, kind }) =>
      kind === 'entry-point' ? undefined : { path: name.replace(/\.ts$/, '.js'), external: true },
    )
  },
}
const modules = path.join(root, 'build', 'modules')
const single = await build({
  ...shared,
  entryPoints: readdirSync(lib, { recursive: true })
    .filter((name) => /\.[jt]s$/.test(name))
    .map((name) => path.join(lib, name)),
  ...{ outdir: modules, bundle: true, packages: 'external', plugins: [relative] },
})

// What an earlier build left: names of shared files have a hash.
for (const [folder, { metafile }] of [
  [dist, bundled],
  [modules, single],
]) {
  const written = new Set(Object.keys(metafile.outputs).map((file) => path.resolve(root, file)))
  for (const name of readdirSync(folder, { recursive: true })) {
    const file = path.join(folder, name)
    if (/\.js(\.map)?$/.test(name) && !written.has(file)) rmSync(file)
  }
}
