import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const build =
  'Build it in a clone of the repository: `npm install && npm run build` (CMake >= 3.20 and a C++20 compiler)'

/** Whether this is a Linux whose C library is not glibc. */
function isMusl(): boolean {
  if (process.platform !== 'linux') return false
  const { header } = process.report.getReport() as unknown as { header: object }
  return !('glibcVersionRuntime' in header)
}

/** Whether `root` is this package's folder; in a bundle it is another one. */
function isPackage(root: string): boolean {
  try {
    return JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).name === 'moe-native'
  } catch {
    return false
  }
}

/** Platforms that the package has no binary for, and what helps there. */
const withoutBinary: Readonly<Record<string, string>> = {
  'darwin-x64': 'There is no binary for Intel Macs',
  'win32-arm64':
    'There is no binary for Windows on ARM: Node for x64 runs there, too, and takes the one for x64',
}

/** What to do when no addon loads, by what is seen of the machine and of the error. */
export function loadAdvice(
  root: string,
  message: string,
  {
    musl = isMusl(),
    inPackage = isPackage(root),
    platform = `${process.platform}-${process.arch}`,
  } = {},
): string {
  if (!inPackage)
    return (
      'This looks like a bundle: a bundler cannot take the binary along. Leave the package outside ' +
      "(esbuild `--external:moe-native`, webpack `externals`, Vite `ssr.external`, Next.js `serverExternalPackages: ['moe-native']`)"
    )
  if (musl)
    return `This system has musl instead of glibc (Alpine): take an image with glibc, such as node:22-slim. ${build}`
  if (/-(arm|ia32|mipsel|ppc)$/.test(platform))
    return 'Weights are mapped into memory, which takes a 64-bit system: install the 64-bit Node of this machine'
  const none = withoutBinary[platform]
  if (none) return `${none}. ${build}`
  const glibc = /GLIBC(?:XX)?_[\d.]+/.exec(message)?.[0]
  if (glibc)
    return `The binary needs ${glibc}, and this system is older: take a newer one. ${build}`
  if (
    /invalid ELF header|wrong ELF class|not a mach-o|incompatible architecture|not a valid Win32/i.test(
      message,
    )
  )
    return 'The binary is of another platform, as when node_modules is copied between machines: run `npm ci` on this one'
  if (!existsSync(path.join(root, 'prebuilds')) && !existsSync(path.join(root, 'build')))
    return `The package has lost its folder \`prebuilds\`: install it again. ${build}`
  return build
}
