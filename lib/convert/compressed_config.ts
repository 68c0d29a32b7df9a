import type { WeightFormat } from '../native.ts'
import { bitsOf } from '../weights/formats.ts'
import type { Json } from '../weights/json.ts'

/** Layers by the format that they are written in; undefined: as they were. */
export type LayerFormats = ReadonlyMap<string, WeightFormat | undefined>

/** The layer's name with any number in place of its numbers. */
const patternOf = (layer: string): string =>
  `re:^${layer.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\d+/g, '\\d+')}$`

/** Patterns for layers of one format; a layer whose pattern fits others goes by its name. */
function targetsOf(layers: LayerFormats, format: WeightFormat | undefined): string[] {
  const byPattern = new Map<string, Set<WeightFormat | undefined>>()
  for (const [layer, its] of layers) {
    const pattern = patternOf(layer)
    byPattern.set(pattern, (byPattern.get(pattern) ?? new Set()).add(its))
  }
  const own = [...layers].filter(([, its]) => its === format).map(([layer]) => layer)
  const target = (layer: string) =>
    byPattern.get(patternOf(layer))!.size === 1 ? patternOf(layer) : layer
  return [...new Set(own.map(target))]
}

/** int8 multiplies 8-bit rows, in other runtimes as in this one; int4 says nothing of its rows. */
function schemeOf(layers: LayerFormats, format: WeightFormat): Json {
  const bits = bitsOf(format)
  const common = { num_bits: bits, type: 'int', symmetric: true }
  const [, group] = /g(\d+)$/.exec(format) ?? []
  return {
    targets: targetsOf(layers, format),
    weights: group
      ? { ...common, strategy: 'group', group_size: Number(group), dynamic: false }
      : { ...common, strategy: 'channel', dynamic: false },
    input_activations: bits === 8 ? { ...common, strategy: 'token', dynamic: true } : null,
    output_activations: null,
    format: bits === 8 ? 'int-quantized' : 'pack-quantized',
  }
}

/** `quantization_config` of compressed-tensors, in version 0.10's words. */
export function compressedConfig(layers: LayerFormats): Json {
  const formats = [...new Set(layers.values())].filter((one) => one !== undefined)
  const schemes = formats.sort().map((format) => schemeOf(layers, format))
  const names = new Set(schemes.map(({ format }) => format))
  return {
    quant_method: 'compressed-tensors',
    format: names.size === 1 ? [...names][0] : 'mixed-precision',
    quantization_status: 'compressed',
    config_groups: Object.fromEntries(schemes.map((scheme, i) => [`group_${i}`, scheme])),
    ignore: targetsOf(layers, undefined),
    kv_cache_scheme: null,
  }
}
