import type { Device, DeviceInfo } from './device.ts'
import type { ActivationDType } from './native.ts'
import type { Parameters } from './parameters.ts'
import type { WeightsInfo } from './weights/formats.ts'

/** @internal What loading knows of every model. */
export interface LoadedParts {
  device: Device
  dtype: ActivationDType
  parameters: Parameters
  weights: WeightsInfo[]
}

/** What every model has, whatever it reads and writes. */
export abstract class LoadedModel {
  readonly device: DeviceInfo
  readonly parameters: Parameters
  /** What the weights take, by what they are for and how they are stored. */
  readonly weights: readonly WeightsInfo[]
  /** Element type of activations. */
  readonly dtype: ActivationDType

  /** @internal */
  constructor({ device, dtype, parameters, weights }: LoadedParts) {
    this.device = device.info
    this.parameters = parameters
    this.weights = weights
    this.dtype = dtype
  }

  /** Frees everything. A second call does nothing. */
  abstract dispose(): Promise<void>

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}
