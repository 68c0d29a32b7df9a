import { it } from 'vitest'
import type { DeviceName } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'

const named = process.env.MOE_TEST_DEVICE as DeviceName | undefined
const simulator = native().gpus('cuda-sim')

/** Whether GPU kernels can run here on the simulator. */
export const simulated = simulator.gpus.length > 0

/** Every schedule of the simulator, on both generations; or the GPU that the environment names. */
export const gpus: { name: string; device: DeviceName }[] = named
  ? [{ name: named, device: named }]
  : simulator.gpus.map(({ name }, i) => ({ name, device: `cuda-sim:${i}` }))

/** The CPU, and one of those where there is one. */
export const devices: readonly DeviceName[] = ['cpu', ...gpus.slice(0, 1).map((g) => g.device)]

/** Of those the first and, of each generation, the last: for kernels that run under all schedules elsewhere. */
export const someGpus = named ? gpus : gpus.filter((_, i) => [0, 3, 5, 7].includes(i))

// Where there is none, the file that asks for them reports a skipped test instead of nothing.
if (gpus.length === 0) it.skip(`tests on a GPU, none here: ${simulator.reason}`, () => {})
