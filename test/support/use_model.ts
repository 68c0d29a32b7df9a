import { afterAll, beforeAll } from 'vitest'
import { type LoadModelOptions, loadModel, type Model } from '../../lib/index.ts'

/** A model for the tests of one `describe`; the CPU's f32 unless the options say otherwise. */
export function useModel(dir: string, options: LoadModelOptions = {}): () => Model {
  let model: Model | undefined
  beforeAll(async () => {
    model = await loadModel(dir, { device: 'cpu', dtype: 'f32', ...options })
  })
  afterAll(() => model?.dispose())
  return () => model!
}
