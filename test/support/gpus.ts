import type { DeviceName } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'

/** Every schedule of the simulator, on both generations; or the GPU that the environment names. */
export const gpus: { name: string; device: DeviceName }[] = process.env.MOE_TEST_DEVICE
  ? [{ name: process.env.MOE_TEST_DEVICE, device: process.env.MOE_TEST_DEVICE as DeviceName }]
  : native()
      .gpus('cuda-sim')
      .gpus.map(({ name }, i) => ({ name, device: `cuda-sim:${i}` as DeviceName }))
