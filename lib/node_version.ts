import { MoeError } from './errors.ts'

/** As `engines` of package.json says. */
const least = [20, 19] as const

/** @throws {MoeError} ERR_MOE_UNSUPPORTED on a Node that this package does not run on */
export function checkNode(version: string = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > least[0] || (major === least[0] && minor >= least[1])) return
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `moe-native: Node must be ${least.join('.')} or newer, got ${version}`,
  )
}
