// npm run build:ts, behind tsc, which writes the declarations: lib as JavaScript in dist. Modules that are always loaded
// together share a file, since Node takes about half a millisecond for each; names of functions stay as they are.
import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const dist = path.join(root, 'dist')

/** What the package exports and runs; a file stays where lib/constraints/matcher_thread.ts looks for the thread. */
const entries = {
  index: 'index.ts',
  'server/index': 'server/index.ts',
  'cli/main': 'cli/main.ts',
  matcher_worker: 'constraints/matcher_worker.js',
}
/** What benchmarks, scripts and tests import besides. */
const internals = [
  ...['device', 'errors', 'load', 'load_seq2seq', 'native', 'parameters'],
  ...['adapters/peft', 'adapters/phatgoose'],
  ...['bench/ceilings', 'bench/kernels/gemm', 'bench/shapes', 'bench/workbench'],
  ...['chat/call_forms', 'chat/template', 'chat/tool_calls', 'constraints/constraint'],
  ...['convert/convert', 'convert/pickle', 'convert/vmoe', 'engine/checkpoint_defaults'],
  ...[
    'hub/pull',
    'models/index',
    'ops/index',
    'seq2seq/config',
    'server/offline',
    'server/serving',
  ],
  ...['standalone/kernels', 'tokenizer/index', 'vision/config', 'vision/vision_transformer'],
  ...['weights/checkpoint', 'weights/mistakes', 'weights/quantization', 'weights/safetensors'],
]

const { metafile } = await build({
  entryPoints: Object.entries({
    ...entries,
    ...Object.fromEntries(internals.map((name) => [name, `${name}.ts`])),
  }).map(([out, file]) => ({ out, in: path.join(root, 'lib', file) })),
  ...{ outdir: dist, absWorkingDir: root, metafile: true, logLevel: 'warning' },
  ...{ bundle: true, splitting: true, packages: 'external', sourcemap: true, keepNames: true },
  ...{ format: 'esm', platform: 'node', target: 'node20.19' },
})

// Names of shared files have a hash: those of the build before are left over.
const written = new Set(Object.keys(metafile.outputs).map((file) => path.resolve(root, file)))
for (const name of readdirSync(dist, { recursive: true })) {
  const file = path.join(dist, name)
  if (/\.js(\.map)?$/.test(name) && !written.has(file)) rmSync(file)
}
