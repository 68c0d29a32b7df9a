import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Path of the demo checkpoint that comes with the package: a MoE++ model that writes something like Shakespeare. */
export const demoModel: string = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  '../demo/moepp-tiny',
)
