import { MoeError } from '../errors.ts'
import { loadModel } from '../load.ts'
import type { LoadModelOptions } from '../load_options.ts'
import { Model } from '../model.ts'
import type { VisionModel } from '../vision/vision_model.ts'
import { progressBar } from './progress.ts'

/**
 * Loads a language model behind a bar.
 *
 * @throws {MoeError} ERR_MOE_UNSUPPORTED for a model of images, and as loadModel
 */
export async function loadWithBar(
  dir: string,
  options: LoadModelOptions,
  quiet: boolean,
): Promise<Model> {
  using bar = progressBar('loading', quiet)
  const onProgress: LoadModelOptions['onProgress'] = ({ loadedBytes, totalBytes }) =>
    bar.update(loadedBytes, totalBytes)
  const model = await loadModel<Model | VisionModel>(dir, { ...options, onProgress })
  if (model instanceof Model) return model
  await model.dispose()
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `${dir}: model must be a language model, got one of images (${model.config.architecture}), which loadModel and classify run`,
  )
}
