import { MoeError } from '../errors.ts'
import { modelFolder as hubFolder } from '../hub/model_folder.ts'
import { type AnyModel, loadModel } from '../load.ts'
import type { LoadModelOptions } from '../load_options.ts'
import { Model } from '../model.ts'
import { checkpointFolder } from '../weights/mistakes.ts'
import { progressBar } from './progress.ts'

/**
 * The folder that --model means, once it is not one of the usual mistakes; a hub's model is downloaded behind a bar.
 *
 * @throws {MoeError} as checkpointFolder and pullModel
 */
export async function modelFolder(
  where: string,
  dir: string,
  { quiet, signal }: { quiet: boolean; signal: AbortSignal | undefined },
): Promise<string> {
  using bar = progressBar('pulling', quiet)
  const folder = await hubFolder(dir, {
    signal,
    onProgress: ({ downloadedBytes, totalBytes }) => bar.update(downloadedBytes, totalBytes),
  })
  return checkpointFolder(where, folder)
}

/**
 * Loads a language model behind a bar.
 *
 * @throws {MoeError} ERR_MOE_UNSUPPORTED for a model of images or an encoder-decoder, and as loadModel
 */
export async function loadWithBar(
  dir: string,
  options: LoadModelOptions,
  quiet: boolean,
): Promise<Model> {
  const folder = await modelFolder('loadModel', dir, { quiet, signal: options.signal })
  using bar = progressBar('loading', quiet)
  const onProgress: LoadModelOptions['onProgress'] = ({ loadedBytes, totalBytes }) =>
    bar.update(loadedBytes, totalBytes)
  const model = await loadModel<AnyModel>(folder, {
    ...options,
    onProgress,
  })
  if (model instanceof Model) return model
  await model.dispose()
  const [what, call] =
    'classify' in model ? ['one of images', 'classify'] : ['an encoder-decoder', 'generate']
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `${dir}: model must be a language model, got ${what} (${model.config.architecture}), which loadModel and ${call} run`,
  )
}
