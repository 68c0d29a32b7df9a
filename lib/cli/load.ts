import { loadModel } from '../load.ts'
import type { LoadModelOptions } from '../load_options.ts'
import type { Model } from '../model.ts'
import { progressBar } from './progress.ts'

/** Loads a model behind a bar. */
export async function loadWithBar(
  dir: string,
  options: LoadModelOptions,
  quiet: boolean,
): Promise<Model> {
  using bar = progressBar('loading', quiet)
  const onProgress: LoadModelOptions['onProgress'] = ({ loadedBytes, totalBytes }) =>
    bar.update(loadedBytes, totalBytes)
  return await loadModel(dir, { ...options, onProgress })
}
