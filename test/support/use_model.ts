import { afterAll, beforeAll } from 'vitest'
import { type DeviceName, type LoadModelOptions, loadModel, type Model } from '../../lib/index.ts'

/** Where tests run; MOE_TEST_DEVICE moves them to a GPU. */
export const testDevice = (process.env.MOE_TEST_DEVICE ?? 'cpu') as DeviceName

/** A model for the tests of one `describe`; f32 unless the options say otherwise. */
export function useModel(dir: string, options: LoadModelOptions = {}): () => Model {
  let model: Model | undefined
  beforeAll(async () => {
    model = await loadModel(dir, { device: testDevice, dtype: 'f32', ...options })
  })
  afterAll(() => model?.dispose())
  return () => model!
}
