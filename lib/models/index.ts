import { MoeError, shown } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { ConfigReader, type ModelConfig } from './config.ts'
import { Mixtral, readMixtralConfig } from './mixtral.ts'
import { MoePlusPlus, readMoePlusPlusConfig } from './moepp.ts'
import { readYuanConfig, Yuan } from './yuan.ts'

interface Family<Config extends ModelConfig> {
  read(config: ConfigReader): Config
  build: new (config: Config, weights: Weights, options: GraphOptions) => Architecture
}

const family = <Config extends ModelConfig>(
  read: Family<Config>['read'],
  build: Family<Config>['build'],
): ((json: Json) => { config: Config; build: (w: Weights, o: GraphOptions) => Architecture }) => {
  return (json) => {
    const config = read(new ConfigReader(json))
    return { config, build: (weights, options) => new build(config, weights, options) }
  }
}

/** Architectures by the `model_type` of config.json; `architectures` is too generic to tell them apart. */
const families = {
  yuan: family(readYuanConfig, Yuan),
  'MoE++': family(readMoePlusPlusConfig, MoePlusPlus),
  mixtral: family(readMixtralConfig, Mixtral),
}

/** Chooses the architecture and validates its configuration. */
export function describeModel(json: Json): {
  config: ModelConfig
  build: (weights: Weights, options: GraphOptions) => Architecture
} {
  const type = json.model_type
  const known = Object.keys(families)
  if (typeof type !== 'string' || !known.includes(type))
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `config.json: model_type must be one of ${known.join(', ')}, got ${shown(type)}`,
    )
  return families[type as keyof typeof families](json)
}
