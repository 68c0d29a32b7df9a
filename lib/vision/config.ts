import { ConfigReader, limits } from '../models/config.ts'
import { commonKeys, configKeys } from '../models/config_keys.ts'
import type { Json } from '../weights/json.ts'

/** How many tokens an expert takes. */
export interface Capacity {
  /** Tokens; instead of a factor. */
  tokens?: number | undefined
  /** Of the tokens that an expert would have if all had the same. */
  factor: number
  rounding: 'ceil' | 'round'
  /** What the number is raised to a multiple of. */
  multipleOf: number
}

/** How tokens of images and experts find each other. */
export type VisionRouter =
  /** V-MoE: a token chooses experts. */
  | { kind: 'tokens'; topK: number; capacity: Capacity; order: 'choice' | 'priority' }
  /** Expert choice: an expert chooses tokens. */
  | { kind: 'experts'; capacity: Capacity }
  /** Soft MoE: slots of an expert mix tokens. */
  | { kind: 'soft'; slots: number }

/** A vision transformer's config.json. */
export interface VisionConfig {
  architecture: 'V-MoE' | 'Soft MoE'
  imageHeight: number
  imageWidth: number
  channels: number
  patchHeight: number
  patchWidth: number
  hiddenSize: number
  /** 0: no head; the pooled vector is the output. */
  numClasses: number
  /** What the head reads: a class token, the first token, the mean of all, or attention pooling. */
  classifier: 'token' | 'first' | 'gap' | 'map'
  /** Width of the tanh layer in front of the head. */
  representationSize: number | undefined
  numLayers: number
  mlpSize: number
  numHeads: number
  headSize: number
  qkNorm: boolean
  positions: { kind: 'none' | 'learned' } | { kind: 'sincos2d'; temperature: number }
  /** Tokens of an image, with a class token. */
  tokens: number
  /** Undefined: no layer has experts. */
  moe:
    | { layers: readonly number[]; numExperts: number; groupSize: number; router: VisionRouter }
    | undefined
}

const keys = configKeys({
  used: [
    ...(['image_size', 'num_channels', 'patch_size', 'hidden_size', 'num_classes'] as const),
    ...(['classifier', 'representation_size', 'encoder'] as const),
  ],
  ignored: {
    'initial values of training': ['head_bias_init', 'head_kernel_zero_init'],
    'the class of the code': ['name', 'encoder_cls'],
  },
})
const encoderKeys = configKeys({
  used: [
    ...(['num_layers', 'mlp_dim', 'num_heads', 'attention_qk_norm', 'position_emb'] as const),
    'moe',
  ],
  ignored: { 'training only': ['dropout_rate', 'attention_dropout_rate'] },
})
const positionKeys = configKeys({ used: ['name', 'temperature'] })
const moeKeys = configKeys({
  used: ['layers', 'num_experts', 'group_size', 'router'],
  ignored: { 'training only': ['dropout_rate', 'split_rngs'] },
})
const routerKeys = configKeys({
  used: ['name', 'num_selected_experts', 'num_slots', 'capacity_factor', 'dispatcher'],
  ignored: {
    'training only': [
      ...['noise_std', 'importance_loss_weight', 'load_loss_weight', 'gshard_loss_weight'],
      ...['dropout_rate', 'deterministic'],
    ],
    'how it is computed, and what is reported of it': [
      ...['partition_spec', 'precision', 'compute_similarity_metrics'],
    ],
  },
})
const dispatcherKeys = configKeys({
  used: [
    ...(['capacity', 'capacity_factor', 'capacity_ceil_or_round'] as const),
    ...(['capacity_multiple_of', 'batch_priority'] as const),
  ],
  ignored: {
    'how it is computed': ['name', 'partition_spec', 'einsum_precision'],
    'rounds what experts see to save bandwidth between TPUs; not done here': ['bfloat16'],
  },
})

/** To the even of two equally near numbers, as Python's. */
function roundHalfEven(x: number): number {
  const below = Math.floor(x)
  if (x - below !== 0.5) return Math.round(x)
  return below % 2 === 0 ? below : below + 1
}

/** How many tokens an expert takes of `choices` choices (arXiv:2106.05974, section 2.3, and the published code). */
export function capacityOf(capacity: Capacity, choices: number, experts: number): number {
  if (capacity.tokens) return capacity.tokens
  const { factor, rounding, multipleOf } = capacity
  const share = (choices * factor) / experts
  const count = rounding === 'ceil' ? Math.ceil(share) : roundHalfEven(share)
  return Math.max(1, Math.ceil(count / multipleOf) * multipleOf)
}

function readPair<Key extends string>(c: ConfigReader<Key>, key: Key): [number, number] {
  const value = c.get(key)
  const ok = (v: unknown) => Number.isSafeInteger(v) && (v as number) >= 1 && (v as number) <= 65536
  if (!Array.isArray(value) || value.length !== 2 || !value.every(ok))
    c.invalid(key, 'two whole numbers, height and width')
  return value as [number, number]
}

/** A name that the file may leave out. */
function oneOf<Key extends string, Name extends string>(
  c: ConfigReader<Key>,
  key: Key,
  fallback: Name,
  names: readonly Name[],
): Name {
  const value = c.get(key) ?? fallback
  return names.find((name) => name === value) ?? c.unsupported(key, names.join(' or '))
}

const optional = <Key extends string>(c: ConfigReader<Key>, key: Key): number | undefined =>
  c.get(key) === undefined ? undefined : c.int(key)

/** What a capacity is raised to a multiple of: 4 where nothing is said; null and 0 are none. */
const readMultiple = (d: ConfigReader<(typeof dispatcherKeys)['used'][number]>): number =>
  d.isNull('capacity_multiple_of') ? 1 : d.int('capacity_multiple_of', 4, { min: 0 }) || 1

function readRouter(
  json: Json,
  { groupSize, numExperts }: { groupSize: number; numExperts: number },
): VisionRouter {
  const c = new ConfigReader<(typeof routerKeys)['used'][number]>(
    json,
    'config.json: encoder.moe.router',
    [routerKeys],
  )
  const name = c.get('name') ?? 'NoisyTopExpertsPerItemRouter'
  if (name === 'SoftRouter') {
    const capacity = {
      factor: c.get('capacity_factor') === undefined ? 1 : c.number('capacity_factor', 1, 0, 1e6),
    }
    const slots = optional(c, 'num_slots')
    const rounded = { ...capacity, rounding: 'round', multipleOf: 1 } as const
    return { kind: 'soft', slots: slots ?? capacityOf(rounded, groupSize, numExperts) }
  }
  const d = c.object('dispatcher', dispatcherKeys)
  const rounding = oneOf(d, 'capacity_ceil_or_round', 'ceil', ['ceil', 'round'])
  const tokens = optional(d, 'capacity')
  const capacity: Capacity = {
    tokens,
    factor: d.number('capacity_factor', tokens ? 1 : undefined, 0, 1e6),
    rounding,
    multipleOf: readMultiple(d),
  }
  if (name === 'NoisyTopItemsPerExpertRouter') return { kind: 'experts', capacity }
  if (name !== 'NoisyTopExpertsPerItemRouter')
    c.unsupported(
      'name',
      'NoisyTopExpertsPerItemRouter, NoisyTopItemsPerExpertRouter or SoftRouter',
    )
  const topK = c.count('num_selected_experts', 1)
  if (topK > numExperts) c.invalid('num_selected_experts', `at most the ${numExperts} experts`)
  const order = d.flag('batch_priority', false) ? 'priority' : 'choice'
  return { kind: 'tokens', topK, capacity, order }
}

function readMoe(c: ConfigReader<(typeof encoderKeys)['used'][number]>, numLayers: number) {
  if (c.get('moe') === undefined) return undefined
  const m = c.object('moe', moeKeys)
  const layers = m.get('layers') as number[]
  const ok = (l: unknown) =>
    Number.isSafeInteger(l) && (l as number) >= 0 && (l as number) < numLayers
  if (!Array.isArray(layers) || !layers.every(ok))
    m.invalid('layers', `a list of layers from 0 to ${numLayers - 1}`)
  if (layers.length === 0) return undefined
  const numExperts = m.count('num_experts')
  const groupSize = m.int('group_size')
  const router = readRouter(m.dictionary('router') ?? {}, { groupSize, numExperts })
  return { layers, numExperts, groupSize, router }
}

/** Reads the configuration of the published nesting and names (google-research/vmoe), with the image's size. */
export function readVisionConfig(json: Json): VisionConfig {
  const c = new ConfigReader<(typeof keys)['used'][number]>(json, 'config.json', [commonKeys, keys])
  const e = c.object('encoder', encoderKeys)
  const [imageHeight, imageWidth] = readPair(c, 'image_size')
  const [patchHeight, patchWidth] = readPair(c, 'patch_size')
  if (patchHeight > imageHeight || patchWidth > imageWidth)
    c.invalid('patch_size', `at most image_size, ${imageHeight} x ${imageWidth}`)
  const names = ['token', '0', 'gap', 'map'] as const
  const named = c.get('classifier') === 0 ? '0' : oneOf(c, 'classifier', 'token', names) // YAML's 0
  const classifier = named === '0' ? 'first' : named
  const hiddenSize = c.int('hidden_size')
  const numHeads = e.count('num_heads')
  const headSize = hiddenSize / numHeads
  if (hiddenSize % numHeads !== 0 || headSize < 2 || headSize > limits.headSize)
    e.invalid(
      'num_heads',
      `a divisor of hidden_size ${hiddenSize} into heads of 2 to ${limits.headSize}`,
    )
  const patches = Math.floor(imageHeight / patchHeight) * Math.floor(imageWidth / patchWidth)
  const p = e.object('position_emb', positionKeys)
  const kind = oneOf(p, 'name', 'learned', ['none', 'learned', 'sincos2d'])
  if (kind === 'sincos2d' && (hiddenSize % 4 !== 0 || hiddenSize < 8))
    c.invalid('hidden_size', 'a multiple of 4, and at least 8, for sincos2d')
  const numLayers = e.count('num_layers')
  const moe = readMoe(e, numLayers)
  return {
    architecture: json.model_type === 'soft_moe' ? 'Soft MoE' : 'V-MoE',
    ...{ imageHeight, imageWidth, patchHeight, patchWidth, hiddenSize, classifier, numLayers },
    ...{ numHeads, headSize, moe },
    channels: c.int('num_channels', 3, { max: 1024 }),
    numClasses: c.get('num_classes') === undefined ? 0 : c.int('num_classes', 0, { min: 0 }),
    representationSize: optional(c, 'representation_size'),
    mlpSize: e.int('mlp_dim'),
    qkNorm: e.flag('attention_qk_norm', false),
    positions:
      kind === 'sincos2d'
        ? { kind, temperature: p.number('temperature', 10000, 1, limits.theta) }
        : { kind },
    tokens: patches + (classifier === 'token' ? 1 : 0),
  }
}
