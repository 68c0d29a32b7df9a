// npm run prebuilds [-- --target linux-arm64 | win32-x64]: the binary that the package carries for a platform, and on
// this one the CUDA backend beside it where nvcc is, for every architecture from sm_80. Built in a tree of its own, so
// that the ordinary build stays as it is. Other targets are cross-built with the toolchains in cmake/toolchains.
// With --built nothing is compiled: it takes the addon that `npm run build` has left, without the backend.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  options: { target: { type: 'string' }, built: { type: 'boolean' } },
})
/** From here on the CUDA backend becomes an optional package of its own. */
const mostCudaBytes = 20e6

function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  })
  if (status !== 0) throw new Error(`${command} ended with ${status}`)
}

/** For this platform, by prebuildify, which builds in build/Release: what is there comes back afterwards. */
function native() {
  const release = path.join(root, 'build', 'Release')
  const kept = path.join(root, 'build', 'kept')
  rmSync(kept, { recursive: true, force: true })
  if (existsSync(release)) renameSync(release, kept)
  const archs = '80-real;86-real;89-real;90a-real;100-real;120-real;90-virtual;120-virtual'
  try {
    run(
      process.execPath,
      [
        path.join(root, 'node_modules/prebuildify/bin.js'),
        ...['--napi', '--strip', '--tag-libc', '--node-gyp', './scripts/build_native.mjs'],
      ],
      {
        MOE_CUDA_ARCHS: process.env.MOE_CUDA_ARCHS ?? archs,
        MOE_BUILD_TREE: 'prebuild',
        MOE_CUDA_SIM: 'OFF',
      },
    )
  } finally {
    rmSync(release, { recursive: true, force: true })
    if (existsSync(kept)) renameSync(kept, release)
  }
}

/** CPU only, by CMake and a toolchain file. */
function cross(target) {
  const tree = path.join(root, 'build-cmake', `prebuild-${target}`)
  const toolchain = path.join(root, 'cmake/toolchains', `${target}.cmake`)
  const defines = [`CMAKE_TOOLCHAIN_FILE=${toolchain}`, 'CMAKE_BUILD_TYPE=Release', 'MOE_CUDA=OFF']
  run('cmake', ['-S', root, '-B', tree, ...defines.map((define) => `-D${define}`)])
  run('cmake', ['--build', tree, '--parallel', '2'])
  const strips = {
    'linux-arm64': 'aarch64-linux-gnu-strip',
    'win32-x64': 'x86_64-w64-mingw32-strip',
  }
  place(path.join(tree, 'moe_native.node'), target, strips[target])
}

/** An addon under the name that node-gyp-build looks for. */
function place(addon, target, strip) {
  const folder = path.join(root, 'prebuilds', target)
  mkdirSync(folder, { recursive: true })
  const libc = target.startsWith('linux') ? '.glibc' : ''
  const file = path.join(folder, `moe-native${libc}.node`)
  copyFileSync(addon, file)
  run(strip, [file])
}

const target = values.target ?? `${process.platform}-${process.arch}`
rmSync(path.join(root, 'prebuilds', target), { recursive: true, force: true })
if (values.target) cross(target)
else if (values.built) place(path.join(root, 'build/Release/moe_native.node'), target, 'strip')
else native()

for (const file of readdirSync(path.join(root, 'prebuilds', target))) {
  const { size } = statSync(path.join(root, 'prebuilds', target, file))
  console.log(`prebuilds/${target}/${file}: ${(size / 1e6).toFixed(1)} MB`)
  if (/cuda/.test(file) && size > mostCudaBytes) {
    console.error('the CUDA backend has outgrown the main package: move it to an optional one')
    process.exitCode = 1
  }
}
