import type { DeviceInfo } from '../device.ts'
import type { ActivationDType } from '../native.ts'

/** What a text was made on: `<name> (<kernels>, <dtype>)`. */
export function deviceText(
  { type, name, isa, capability }: DeviceInfo,
  dtype: ActivationDType,
): string {
  const kernels = type === 'cpu' ? isa : `compute capability ${capability!.toFixed(1)}`
  return `${name} (${kernels}, ${dtype})`
}
