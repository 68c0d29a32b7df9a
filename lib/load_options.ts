import type { DeviceName } from './device.ts'
import { badOption } from './errors.ts'
import type { DownloadProgress } from './hub/pull.ts'
import type { ActivationDType } from './native.ts'
import type { OptionNames } from './option_names.ts'
import { checkOptions, flagOption, nameOption, numberOption, signalOption } from './options.ts'
import type { LoadProgress } from './weights/checkpoint_weights.ts'
import {
  readWeights,
  type WeightsChoice,
  type WeightsOption,
  weightsNames,
} from './weights/formats.ts'
import type { RopeRounding } from './weights/weights.ts'

/** Options of `loadModel`. */
export interface LoadModelOptions {
  /** Default `auto`: a usable GPU, else the CPU; `model.device.reason` says why. */
  device?: DeviceName | undefined
  /** Element type of activations. `auto`: f32 on the CPU, bf16 on a GPU. */
  dtype?: 'auto' | ActivationDType | undefined
  /**
   * How matrices are stored. Default `auto`: as the file has them. `int8` halves what bf16 takes and
   * reads, at hardly any loss; `int4` quarters it for experts and keeps attention and head in int8; `{ format: 'int4',
   * group: 128 }` has fewer scales. `fp8` is what FP8 files have. Routers, norms, convolutions and embeddings stay as
   * they are. `f32` and `bf16` unpack what is quantised, and convert.
   */
  weights?: WeightsOption | undefined
  /** CPU threads; default: all that affinity and cgroup quota allow. */
  threads?: number | undefined
  /**
   * Tokens that the cache holds, over all sequences: the limit of the context. Default: the larger of the
   * model's max_position_embeddings and 4096, within a quarter of the free memory, or on a GPU 90 % of what the
   * weights leave.
   */
  maxTokens?: number | undefined
  /**
   * Bytes of a GPU's memory for weights and cache. Experts that do not fit stay in pinned host memory and are read over
   * the bus, the last layers' first; numbers do not change. The cache then takes a quarter at most, unless `maxTokens`
   * says otherwise, and a step's activations come beside. Default: everything is on the GPU. Nothing on the CPU.
   */
  gpuMemory?: number | undefined
  /** Calls that may wait for their turn; more fail with ERR_MOE_BUSY. 64 run at a time. Default: any number. */
  maxWaiting?: number | undefined
  /**
   * Makes results independent of what else runs on a GPU, too: every op takes one path for any number of rows, which
   * costs speed. Without it, a GPU's results are equal from run to run of the same steps, and differ by rounding
   * between few rows and many. Changes nothing on the CPU, where bits never depend on neighbours. Default false.
   */
  deterministic?: boolean | undefined
  /** Rotary base, instead of the configuration's `rope_theta`; what scales positions stays. */
  ropeTheta?: number | undefined
  /** How Yuan's rotary table is rounded; default `published`. */
  ropeTable?: RopeRounding | undefined
  /**
   * Whether a generation does what generation_config.json says where the call says nothing. False: only its
   * end-of-text ids count, and keys that are not supported refuse nothing. Default true.
   */
  generationDefaults?: boolean | undefined
  /** Called after each tensor. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Called as files of a hub's model come; not where they are in the cache. */
  onDownload?: ((progress: DownloadProgress) => void) | undefined
  /** Aborts loading; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Read once and valid. */
export interface LoadRequest
  extends Omit<LoadModelOptions, 'dtype' | 'weights' | 'deterministic' | 'generationDefaults'> {
  dtype: 'auto' | ActivationDType
  weights: WeightsChoice
  deterministic: boolean
  generationDefaults: boolean
}

export const loadOptionNames: OptionNames<LoadModelOptions> = {
  device: true,
  dtype: true,
  weights: true,
  threads: true,
  maxTokens: true,
  gpuMemory: true,
  maxWaiting: true,
  deterministic: true,
  ropeTheta: true,
  ropeTable: true,
  generationDefaults: true,
  onProgress: true,
  onDownload: true,
  signal: true,
}

/** Checks the values of a load's options; `openDevice` checks the device. */
export function resolveLoadOptions<Options extends LoadModelOptions>(
  where: string,
  options: Options,
  names: OptionNames<Options>,
): LoadRequest {
  checkOptions(where, options, names)
  const { device, dtype = 'auto', weights = 'auto', threads, maxTokens, deterministic } = options
  const { gpuMemory } = options
  const { maxWaiting, ropeTheta, ropeTable, generationDefaults, onProgress, onDownload, signal } =
    options
  const whole = (name: string, value: unknown, max: number) =>
    value === undefined ? undefined : numberOption(name, value, { min: 1, max, whole: true, where })
  for (const [name, value] of Object.entries({ onProgress, onDownload }))
    if (value !== undefined && typeof value !== 'function')
      badOption(where, name, 'a function', value)
  return {
    device,
    dtype: nameOption(where, 'dtype', dtype, ['auto', 'f32', 'bf16']),
    weights: readWeights(where, weights, weightsNames),
    threads: whole('threads', threads, 1024),
    maxTokens: whole('maxTokens', maxTokens, 2 ** 30),
    gpuMemory: whole('gpuMemory', gpuMemory, 2 ** 50),
    maxWaiting:
      maxWaiting === undefined
        ? undefined
        : numberOption('maxWaiting', maxWaiting, { min: 0, whole: true, where }),
    deterministic: flagOption(where, 'deterministic', deterministic),
    ropeTheta:
      ropeTheta === undefined ? undefined : numberOption('ropeTheta', ropeTheta, { min: 1, where }),
    ropeTable:
      ropeTable === undefined
        ? undefined
        : nameOption(where, 'ropeTable', ropeTable, ropeRoundings),
    generationDefaults: flagOption(where, 'generationDefaults', generationDefaults ?? true),
    onProgress,
    onDownload,
    signal: signalOption(where, signal),
  }
}

const ropeRoundings = ['published', 'bf16-frequencies', 'exact'] as const
