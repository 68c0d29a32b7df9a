import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { type RopeKind, type RopeSpec, readRope, ropeKeys } from './rope.ts'

/** Keys that every configuration with Llama's attention has. */
export const decoderKeys = [
  'vocab_size',
  'hidden_size',
  'num_hidden_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'rms_norm_eps',
  'max_position_embeddings',
  'tie_word_embeddings',
  'bos_token_id',
  'eos_token_id',
  ...ropeKeys,
] as const
export type DecoderKey = (typeof decoderKeys)[number]

export interface DecoderDefaults {
  eps: number
  theta: number
  maxPositions: number
  ropeKinds: readonly RopeKind[]
  /** Of the layers whose rotation is asked for, where a file has one for each kind. */
  layerType?: string
  /** Where it is not hidden size / heads: what the file says, checked. */
  headSize?: number | undefined
  /** Where the family reads it by itself. */
  rope?: RopeSpec | undefined
  /** Where it is a part of the head: what the file says, checked. */
  rotaryDim?: number
  /** Where the file does not have the key; null is one a head. */
  keyValueHeads?: number
  /** Where the file does not say it as `num_hidden_layers`. */
  numLayers?: number
  tied?: boolean
}

export type DecoderConfig = Omit<ModelConfig, 'architecture' | 'expertSize' | 'experts' | 'topK'>

/** Of heads that make up the hidden size. */
function equalHeads(c: ConfigReader<'hidden_size'>, hiddenSize: number, heads: number): number {
  const size = hiddenSize / heads
  if (size % 2 !== 0 || size > limits.headSize)
    c.invalid(
      'hidden_size',
      `an even multiple of num_attention_heads, at most ${limits.headSize} times it`,
    )
  return size
}

/** What is alike in them; sizes have no default, since no published class has a released model's. */
export function readDecoder(c: ConfigReader<DecoderKey>, of: DecoderDefaults): DecoderConfig {
  const vocabSize = c.int('vocab_size')
  const hiddenSize = c.int('hidden_size')
  const numHeads = c.count('num_attention_heads')
  const fallback = c.isNull('num_key_value_heads') ? undefined : of.keyValueHeads
  const numKeyValueHeads = c.count('num_key_value_heads', fallback ?? numHeads)
  if (numHeads % numKeyValueHeads !== 0)
    c.invalid('num_key_value_heads', 'a divisor of num_attention_heads')
  const headSize = of.headSize ?? equalHeads(c, hiddenSize, numHeads)
  const maxPositions = c.int('max_position_embeddings', of.maxPositions, { max: limits.positions })
  const { theta, ropeKinds: kinds, layerType, rotaryDim } = of
  const rules = { theta, kinds, maxPositions, partial: rotaryDim !== undefined }
  const rope = of.rope ?? readRope(c, { ...rules, ...(layerType && { layerType }) })
  return {
    vocabSize,
    hiddenSize,
    numLayers: of.numLayers ?? c.count('num_hidden_layers'),
    numHeads,
    numKeyValueHeads,
    headSize,
    rotaryDim: rotaryDim ?? headSize,
    rope,
    rmsNormEps: c.epsilon('rms_norm_eps', of.eps),
    maxPositionEmbeddings: maxPositions,
    tieWordEmbeddings: c.flag('tie_word_embeddings', of.tied ?? false),
    bosId: c.ids('bos_token_id', vocabSize)[0],
    // Absent: the tokenizer's, which need not be the class's default.
    eosIds: c.ids('eos_token_id', vocabSize),
  }
}

/** Of families whose heads need not make up the hidden size. */
export function readHeadSize(c: ConfigReader<'head_dim'>): number | undefined {
  if (c.get('head_dim') === undefined) return undefined
  const size = c.int('head_dim', undefined, { max: limits.headSize })
  if (size % 2 !== 0) c.invalid('head_dim', 'even')
  return size
}

/** The same, where it has to be known before the rest is read. */
export const readAnyHeadSize = (
  c: ConfigReader<'head_dim' | 'hidden_size' | 'num_attention_heads'>,
): number => readHeadSize(c) ?? equalHeads(c, c.int('hidden_size'), c.count('num_attention_heads'))

/** Under either name; files that have both say the same. */
export function readExpertCount(
  c: ConfigReader<'num_experts' | 'num_local_experts'>,
  fallback?: number,
): number {
  const count = c.count('num_local_experts', c.count('num_experts', fallback))
  if (c.count('num_experts', count) !== count)
    c.unsupported('num_experts', `the same as num_local_experts, ${count}`)
  return count
}

/** Which of how many a token chooses: the list of kinds is for models of FFN experts only. */
export function readTopK<Key extends string>(
  c: ConfigReader<Key>,
  key: Key,
  experts: number,
  fallback?: number,
): { topK: number; experts: 'ffn'[] } {
  const topK = c.count(key, fallback)
  if (topK > experts) c.invalid(key, `at most the number of experts, ${experts}`)
  return { topK, experts: Array<'ffn'>(experts).fill('ffn') }
}

/** One window for all layers, or none; `layer_types`, where there is one, has to agree. */
export function checkLayerTypes(
  c: ConfigReader<'layer_types'>,
  window: number | undefined,
): string {
  const type = window === undefined ? 'full_attention' : 'sliding_attention'
  const listed = c.get('layer_types')
  if (listed !== undefined && !(Array.isArray(listed) && listed.every((one) => one === type)))
    c.unsupported('layer_types', `all "${type}", as sliding_window says`)
  return type
}
