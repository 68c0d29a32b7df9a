import path from 'node:path'
import { fileURLToPath } from 'node:url'

// Absent in a bundle of CommonJS, where importing must not fail either.
const here: string | undefined = import.meta.url

/** Path of the demo checkpoint that comes with the package: a MoE++ model that writes something like Shakespeare. */
export const demoModel: string = path.resolve(
  here ? path.dirname(fileURLToPath(here)) : '.',
  '../demo/moepp-tiny',
)
