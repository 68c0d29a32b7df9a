import type { Json } from '../weights/json.ts'
import type { RopeKind, RopeSpec } from '../weights/rope.ts'
import { type ConfigReader, limits } from './config.ts'

/** Keys of a configuration that say how positions are rotated, in both forms of transformers: 4 and 5. */
export const ropeKeys = ['rope_theta', 'rope_scaling', 'rope_parameters'] as const
export type RopeKey = (typeof ropeKeys)[number]

export type { RopeKind, RopeSpec }

export interface RopeRules {
  /** Where the file says none. */
  theta: number
  /** What the architecture's published code defines. */
  kinds: readonly RopeKind[]
  /** Where layers differ, the kind of layer that is asked for. */
  layerType?: string
  maxPositions: number
  /** The family has a part of heads rotated, which `readRotaryDim` reads. */
  partial?: boolean
}

/** The keys that each kind has beside its name and theta; another kind's key is not understood. */
const original = 'original_max_position_embeddings'
const keysOf = {
  default: [],
  linear: ['factor'],
  ntk: ['factor'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', original],
  yarn: [
    ...(['factor', 'beta_fast', 'beta_slow', 'truncate', 'mscale', 'mscale_all_dim'] as const),
    ...(['attention_factor', original] as const),
  ],
  longrope: [
    ...(['short_factor', 'long_factor', 'short_mscale', 'long_mscale', 'factor'] as const),
    ...(['attention_factor', original] as const),
  ],
} as const satisfies Record<RopeKind, readonly string[]>
const everyKind = ['rope_type', 'type', 'rope_theta'] as const
type ScalingKey = (typeof keysOf)[RopeKind][number] | (typeof everyKind)[number]

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Reads either form: `rope_theta` with `rope_scaling`, or `rope_parameters`, which has theta in it and may have
 * one object for each kind of layer.
 *
 * @throws {MoeError} ERR_MOE_UNSUPPORTED for a kind that the architecture does not define
 */
export function readRope(c: ConfigReader<RopeKey>, rules: RopeRules): RopeSpec {
  const { key, path, json } = ropeObject(c, rules.layerType)
  const kind = json.rope_type ?? json.type ?? 'default'
  const names = rules.kinds.map((name) => JSON.stringify(name))
  const listed = [names.slice(0, -1).join(', '), names.at(-1)].filter(Boolean).join(' or ')
  const agree = (json.type ?? kind) === kind
  if (!agree || !rules.kinds.includes(kind as RopeKind))
    c.unsupported(key, `null or of type ${listed}`)
  const used = [...everyKind, ...keysOf[kind as RopeKind]]
  const part = rules.partial ? partOfHeads : wholeHeads
  const r = c.within<ScalingKey>(path, json, { used, ...part })
  const outer = c.number('rope_theta', rules.theta, 1, limits.theta)
  const theta = r.number('rope_theta', outer, 1, limits.theta)
  if (kind === 'yarn' && theta === 1) r.invalid('rope_theta', 'above 1')
  return { theta, ...scaling(r, kind as RopeKind, rules.maxPositions) }
}

/** Equal, where neither has anything nested. */
const same = (a: Json, b: Json): boolean =>
  Object.keys({ ...a, ...b }).every((key) => a[key] === b[key])

const wholeHeads = { only: { partial_rotary_factor: [1] } }
const partOfHeads = { ignored: { 'readRotaryDim reads it': ['partial_rotary_factor'] } }

/** The object that counts, and where it stands. */
export function ropeObject(c: ConfigReader<RopeKey>, layerType = 'full_attention') {
  const filled = (key: RopeKey) => {
    const json = c.dictionary(key)
    return json && Object.keys(json).length > 0 ? json : undefined
  }
  const [old, now] = [filled('rope_scaling'), filled('rope_parameters')]
  if (old && now && !same(old, now)) c.unsupported('rope_scaling', 'absent beside rope_parameters')
  const key: RopeKey = now ? 'rope_parameters' : 'rope_scaling'
  const json = now ?? old ?? {}
  const values = Object.values(json)
  if (values.length === 0 || !values.every(isObject)) return { key, path: key, json }
  const own = Object.hasOwn(json, layerType) ? (json[layerType] as Json) : undefined
  if (!own) return c.unsupported(key, `an object that has ${layerType}`)
  return { key, path: `${key}: ${layerType}`, json: own }
}

type Scaling<S = RopeSpec> = S extends RopeSpec ? Omit<S, 'theta'> : never

function scaling(r: ConfigReader<ScalingKey>, kind: RopeKind, maxPositions: number): Scaling {
  const { factor: most, positions } = limits
  const factor = (fallback?: number) => r.number('factor', fallback, 1, most)
  const context = (fallback?: number) => r.int(original, fallback, { max: positions })
  const attention = (fallback: number) => r.number('attention_factor', fallback, 0, most)
  switch (kind) {
    case 'default':
      return { kind }
    case 'linear':
    case 'ntk':
      return { kind, factor: factor() }
    case 'llama3': {
      const low = r.number('low_freq_factor', undefined, 0, most)
      const high = r.number('high_freq_factor', undefined, 0, most)
      if (high <= low) r.invalid('high_freq_factor', `above low_freq_factor, ${low}`)
      return { kind, factor: factor(), low, high, original: context() }
    }
    case 'yarn': {
      const of = context(maxPositions)
      const f = factor(Math.max(1, maxPositions / of))
      const [one, all] = (['mscale', 'mscale_all_dim'] as const).map((k) => r.number(k, 0, 0, most))
      const growth = (m: number) => (f > 1 ? 0.1 * m * Math.log(f) + 1 : 1)
      return {
        ...{ kind, factor: f, original: of },
        fast: r.number('beta_fast', 32, 0, most) || 32, // the published code takes 0 as absent
        slow: r.number('beta_slow', 1, 0, most) || 1,
        truncate: r.flag('truncate', true),
        attention: attention(one && all ? growth(one) / growth(all) : growth(1)),
        mscaleAllDim: all!,
      }
    }
    case 'longrope': {
      const of = context(maxPositions)
      const f = factor(Math.max(1, maxPositions / of))
      const common = attention(f > 1 ? Math.sqrt(1 + Math.log(f) / Math.log(of)) : 1)
      return {
        ...{ kind, original: of, short: r.numbers('short_factor'), long: r.numbers('long_factor') },
        shortAttention: r.number('short_mscale', common, 0, most),
        longAttention: r.number('long_mscale', common, 0, most),
      }
    }
  }
}
