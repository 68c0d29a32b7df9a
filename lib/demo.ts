import path from 'node:path'
import { packageFolder } from './package_folder.ts'

/** Path of the demo checkpoint that comes with the package: a MoE++ model that writes something like Shakespeare. */
export const demoModel: string = path.join(packageFolder, 'demo/moepp-tiny')
