import type { DeviceName } from './device.ts'
import { badOption } from './errors.ts'
import type { ActivationDType } from './native.ts'
import { checkOptions, flagOption, numberOption } from './options.ts'
import type { LoadProgress } from './weights/checkpoint_weights.ts'
import type { RopeRounding } from './weights/weights.ts'

export interface LoadModelOptions {
  /** Default `auto`: a usable GPU, else the CPU; `model.device.reason` says why. */
  device?: DeviceName | undefined
  /** Element type of activations. `auto`: f32 on the CPU, bf16 on a GPU. Weights keep the file's type. */
  dtype?: 'auto' | ActivationDType | undefined
  /** CPU threads; default: all that affinity and cgroup quota allow. */
  threads?: number | undefined
  /**
   * Tokens that the cache holds, over all sequences: the limit of the context. Default: the larger of the
   * model's max_position_embeddings and 4096, within a quarter of the free memory, or on a GPU 90 % of what the
   * weights leave.
   */
  maxTokens?: number | undefined
  /**
   * Makes results independent of what else runs on a GPU, too: every op takes one path for any number of rows, which
   * costs speed. Without it, a GPU's results are equal from run to run of the same steps, and differ by rounding
   * between few rows and many. Changes nothing on the CPU, where bits never depend on neighbours. Default false.
   */
  deterministic?: boolean | undefined
  /** Rotary base, instead of the configuration's. */
  ropeTheta?: number | undefined
  /** How Yuan's rotary table is rounded; default `published`. */
  ropeTable?: RopeRounding | undefined
  /** Called after each tensor. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Aborts loading; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Complete and valid, but for what depends on the model. */
export interface LoadRequest {
  dtype: ActivationDType
  threads: number | undefined
  maxTokens: number | undefined
  deterministic: boolean
}

export function resolveLoadOptions(
  where: string,
  options: LoadModelOptions,
  onGpu = false,
): LoadRequest {
  checkOptions(where, options)
  const { dtype = 'auto', threads, maxTokens, ropeTheta, ropeTable, onProgress } = options
  if (!['auto', 'f32', 'bf16'].includes(dtype))
    badOption(where, 'dtype', "'auto', 'f32' or 'bf16'", dtype)
  if (threads !== undefined)
    numberOption('threads', threads, { min: 1, max: 1024, whole: true, where })
  if (maxTokens !== undefined)
    numberOption('maxTokens', maxTokens, { min: 1, max: 2 ** 30, whole: true, where })
  if (ropeTheta !== undefined) numberOption('ropeTheta', ropeTheta, { min: 1, where })
  if (ropeTable !== undefined && !['published', 'bf16-frequencies', 'exact'].includes(ropeTable))
    badOption(where, 'ropeTable', "'published', 'bf16-frequencies' or 'exact'", ropeTable)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    badOption(where, 'onProgress', 'a function', onProgress)
  return {
    dtype: dtype === 'auto' ? (onGpu ? 'bf16' : 'f32') : dtype,
    threads,
    maxTokens,
    deterministic: flagOption(where, 'deterministic', options.deterministic),
  }
}
