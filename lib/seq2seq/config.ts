import { ConfigReader, limits } from '../models/config.ts'
import { commonKeys, configKeys } from '../models/config_keys.ts'
import { seq2seqKind } from '../models/kinds.ts'
import type { Json } from '../weights/json.ts'

/** Encoder or decoder. */
export interface StackConfig {
  numLayers: number
  /** Layers that have experts. */
  sparse: readonly number[]
}

/** An encoder-decoder's config.json. */
export interface Seq2SeqConfig {
  architecture: 'Switch Transformers' | 'T5'
  vocabSize: number
  hiddenSize: number
  numHeads: number
  /** The heads' sizes need not add up to the hidden size. */
  headSize: number
  /** Inner size of dense blocks and of experts. */
  innerSize: number
  activation: 'relu' | 'gegluTanh'
  encoder: StackConfig
  decoder: StackConfig
  /** Undefined: no layer has experts. */
  moe:
    | {
        numExperts: number
        /** Tokens of a text that an expert takes in one pass. */
        capacity: number
        routerBias: boolean
      }
    | undefined
  /** Of the biases by distance. */
  buckets: number
  maxDistance: number
  rmsNormEps: number
  /** The head is the embedding table. */
  tieWordEmbeddings: boolean
  /** Logits are divided by the root of the hidden size. */
  scaleLogits: boolean
  /** What the decoder begins with; undefined: the file does not say it. */
  decoderStartId: number | undefined
  /** Ids that end a text. */
  eosIds: number[]
}

/** What T5's configuration class and the one made of it share. */
const shared = configKeys({
  used: [
    ...(['vocab_size', 'd_model', 'd_kv', 'd_ff', 'num_layers', 'num_decoder_layers'] as const),
    ...(['num_heads', 'layer_norm_epsilon', 'tie_word_embeddings', 'eos_token_id'] as const),
    ...(['relative_attention_num_buckets', 'relative_attention_max_distance'] as const),
    ...(['decoder_start_token_id', 'scale_decoder_outputs'] as const),
  ],
  only: { is_encoder_decoder: [true] },
  ignored: {
    'training only': ['dropout_rate', 'initializer_factor'],
    'there are no positions but distances': ['n_positions'],
    'read by nothing': ['bos_token_id'],
  },
})
type SharedKey = (typeof shared)['used'][number]

/** transformers' T5Config. */
export const t5Keys = configKeys({
  used: ['feed_forward_proj', 'dense_act_fn', 'is_gated_act'],
})

/** transformers' SwitchTransformersConfig. */
export const switchKeys = configKeys({
  used: [
    ...(['num_experts', 'expert_capacity', 'router_bias'] as const),
    ...(['num_sparse_encoder_layers', 'num_sparse_decoder_layers'] as const),
  ],
  only: {
    dense_act_fn: ['relu'],
    feed_forward_proj: ['relu'],
    is_gated_act: [false],
    router_dtype: ['float32'],
    router_type: ['tokens_masked'],
    num_selected_experts: [1],
    batch_prioritized_routing: [false],
  },
  ignored: {
    'made of the numbers of layers': ['encoder_sparse_step', 'decoder_sparse_step'],
    'training only': ['router_jitter_noise', 'add_router_probs'],
    'there is no padding': ['router_ignore_padding_tokens'],
  },
})
type Reader = ConfigReader<
  SharedKey | (typeof t5Keys)['used'][number] | (typeof switchKeys)['used'][number]
>

/** `only` of the shared keys holds where the common table says the opposite. */
const common = { ...commonKeys, only: { ...commonKeys.only, ...shared.only } }

/** Experts stand in every `step`-th layer, from the second on; the step is computed, whatever the file says. */
function sparseLayers(numLayers: number, sparse: number): number[] {
  const step = sparse > 0 ? Math.floor(numLayers / sparse) : 0
  const all = Array.from({ length: numLayers }, (_, l) => l)
  return all.filter((l) => step === 1 || (step > 1 && l % step === 1))
}

/** What is made of it is in files, too, and would win over it. */
function readActivation(c: Reader): Seq2SeqConfig['activation'] {
  const named = c.get('feed_forward_proj') ?? 'relu'
  if (named !== 'relu' && named !== 'gated-gelu')
    c.unsupported('feed_forward_proj', 'relu or gated-gelu')
  const gated = named === 'gated-gelu'
  const act = gated ? 'gelu_new' : 'relu'
  if ((c.get('dense_act_fn') ?? act) !== act)
    c.unsupported('dense_act_fn', `"${act}", as feed_forward_proj says`)
  if (c.flag('is_gated_act', gated) !== gated)
    c.unsupported('is_gated_act', `${gated}, as feed_forward_proj says`)
  return gated ? 'gegluTanh' : 'relu'
}

function readDistances(c: Reader): Pick<Seq2SeqConfig, 'buckets' | 'maxDistance'> {
  const buckets = c.int('relative_attention_num_buckets', 32, { min: 4, max: 65536 })
  const maxDistance = c.int('relative_attention_max_distance', 128, { max: 65536 })
  // Nearer distances have buckets of their own, and the logarithm needs farther ones.
  const near = Math.floor(buckets / 2)
  if (maxDistance <= near)
    c.invalid('relative_attention_max_distance', `above half the buckets, ${near}`)
  return { buckets, maxDistance }
}

/**
 * Reads T5's configuration, or that of Switch Transformers.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT, ERR_MOE_UNSUPPORTED naming the key
 */
export function readSeq2SeqConfig(json: Json): Seq2SeqConfig {
  const isSwitch = seq2seqKind(json) === 'Switch Transformers'
  const c: Reader = new ConfigReader(json, 'config.json', [
    ...[common, shared],
    isSwitch ? switchKeys : t5Keys,
  ])
  const vocabSize = c.int('vocab_size')
  const layers = c.count('num_layers')
  const decoderLayers = c.count('num_decoder_layers', layers)
  const tied = c.flag('tie_word_embeddings', true)
  const sparse = (key: 'num_sparse_encoder_layers' | 'num_sparse_decoder_layers', of: number) => {
    const count = isSwitch ? c.int(key, 3, { min: 0, max: limits.count }) : 0
    if (count > of) c.invalid(key, `at most the number of layers, ${of}`)
    return { numLayers: of, sparse: sparseLayers(of, count) }
  }
  const encoder = sparse('num_sparse_encoder_layers', layers)
  const decoder = sparse('num_sparse_decoder_layers', decoderLayers)
  const sparseCount = encoder.sparse.length + decoder.sparse.length
  const numExperts = isSwitch ? c.int('num_experts', 8) : 0
  if (numExperts * sparseCount > limits.experts || numExperts > limits.count)
    c.unsupported('num_experts', `at most ${limits.count}, and ${limits.experts} in all layers`)
  return {
    architecture: isSwitch ? 'Switch Transformers' : 'T5',
    vocabSize,
    hiddenSize: c.int('d_model'),
    numHeads: c.count('num_heads'),
    headSize: c.int('d_kv', undefined, { max: limits.headSize }),
    innerSize: c.int('d_ff'),
    activation: isSwitch ? 'relu' : readActivation(c),
    ...{ encoder, decoder },
    moe:
      sparseCount > 0
        ? {
            numExperts,
            capacity: c.int('expert_capacity', 64),
            routerBias: c.flag('router_bias', false),
          }
        : undefined,
    ...readDistances(c),
    rmsNormEps: c.epsilon('layer_norm_epsilon', 1e-6),
    tieWordEmbeddings: tied,
    scaleLogits: c.flag('scale_decoder_outputs', tied),
    decoderStartId: c.ids('decoder_start_token_id', vocabSize)[0],
    eosIds: c.ids('eos_token_id', vocabSize, [1]),
  }
}
