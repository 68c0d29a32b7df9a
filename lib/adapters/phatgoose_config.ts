import path from 'node:path'
import { ConfigReader, limits } from '../models/config.ts'
import { configKeys } from '../models/config_keys.ts'
import { readJson } from '../weights/json.ts'

const keys = configKeys({
  used: [
    ...(['experts_type', 'num_experts', 'rank', 'scaling', 'top_k'] as const),
    ...(['normalize_top_k', 'router'] as const),
  ],
  ignored: { 'the tensors in the file say it': ['target_modules'] },
})
const routerKeys = configKeys({ used: ['score', 'eps', 'scale'] })

/** experts.json: how a model's low-rank experts are chosen. */
export interface PhatgooseConfig {
  count: number
  rank: number
  /** Factor of what an expert adds; the published code has 1 / rank. */
  scaling: number
  topK: number
  normalized: boolean
  /** Of the norms before the router. */
  eps: number
}

/**
 * Reads experts.json of a checkpoint's folder; undefined where there is none.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT, ERR_MOE_UNSUPPORTED naming the key
 */
export function readPhatgooseConfig(dir: string): PhatgooseConfig | undefined {
  const file = path.join(dir, 'experts.json')
  const json = readJson(file)
  if (!json) return undefined
  const config = new ConfigReader<(typeof keys.used)[number]>(json, file, [keys])
  if (config.get('experts_type') !== 'phatgoose') config.unsupported('experts_type', '"phatgoose"')
  const router = config.object('router', routerKeys)
  if (router.get('score') !== 'layer_norm') router.unsupported('score', '"layer_norm"')
  if (router.get('scale') !== '1/sqrt(in_features)')
    router.unsupported('scale', '"1/sqrt(in_features)"')
  const count = config.count('num_experts')
  return {
    count,
    rank: config.count('rank'),
    scaling: config.number('scaling', undefined, -limits.factor, limits.factor),
    topK: config.int('top_k', undefined, { max: count }),
    normalized: config.flag('normalize_top_k'),
    eps: router.epsilon('eps', 1e-5),
  }
}
