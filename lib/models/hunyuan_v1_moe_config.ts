import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { type DecoderConfig, decoderKeys, readAnyHeadSize, readDecoder } from './decoder_config.ts'
import { type RopeKey, type RopeSpec, ropeObject } from './rope.ts'

/** Hunyuan-A13B (Tencent, 2025, published code): heads are normed behind the rotation, one shared expert. */
export interface HunyuanV1MoeConfig extends DecoderConfig {
  architecture: 'hunyuan_v1_moe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The four projections have biases. */
  attentionBias: boolean
}

/** transformers' HunYuanMoEV1Config, and what the released files have beside it. */
export const hunyuanV1MoeKeys = configKeys({
  used: [
    ...decoderKeys,
    ...(['head_dim', 'attention_head_dim', 'attention_bias', 'intermediate_size'] as const),
    ...(['num_experts', 'moe_topk', 'moe_intermediate_size', 'num_shared_expert'] as const),
  ],
  only: {
    ...{ hidden_act: ['silu'], mlp_bias: [false], norm_type: ['rms'], use_qk_norm: [true] },
    ...{ use_cla: [false], use_mla: [false], use_rotary_pos_emb: [true] },
    ...{ use_mixed_mlp_moe: [true], moe_layer_num_skipped: [0], moe_drop_tokens: [false] },
    ...{ moe_random_routing_dropped_token: [false], group_limited_greedy: [false] },
    ...{ norm_topk_prob: [true], routed_scaling_factor: [1] },
    ...{ position_embedding_xdrope: [false], add_classification_head: [false] },
  },
  ignored: {
    'of latent attention, groups and shared keys, which are off': [
      ...['q_lora_rank', 'kv_lora_rank', 'qk_nope_head_dim', 'qk_rope_head_dim', 'v_head_dim'],
      ...['n_group', 'topk_group', 'cla_share_factor', 'xdrope_section'],
    ],
    'of classifiers and images, in the published file': [
      ...['class_num', 'dense_list', 'pool_type', 'skip_cls_token', 'num_media_embeds'],
      ...['anyres_pooling_size', 'anyres_vit_max_image_size', 'anyres_vit_two_views', 'vit_patch'],
      ...['vit_add_patchemb_bias', 'vit_input_resolution', 'vit_mapping_type', 'vit_norm_type'],
      ...['vit_path', 'vit_remove_prenorm', 'vit_token', 'vit_type', 'vit_used_rms_norm'],
    ],
    'the tokenizer says it': [
      ...['eod_token_id', 'im_end_id', 'im_newline_id', 'im_start_id', 'mask_init_id', 'pad_id'],
      ...['image_token_id', 'org_vocab_size', 'text_end_id', 'text_start_id', 'video_end_id'],
      'video_start_id',
    ],
  },
})
type Key = (typeof hunyuanV1MoeKeys)['used'][number]

/** One number for all layers, or a list of one for each that are all the same. */
function readEach(c: ConfigReader<Key>, key: Key, layers: number, fallback?: number): number {
  const listed = c.get(key)
  if (!Array.isArray(listed)) return c.int(key, fallback)
  const [first] = listed
  const valid = Number.isSafeInteger(first) && first >= 1 && first <= limits.size
  if (!valid || listed.length !== layers || listed.some((one) => one !== first))
    c.unsupported(key, `a number, or a list of ${layers} times the same`)
  return first
}

/** The published `dynamic` scaling with an `alpha` is a larger base, whatever the text's length. */
function readAlpha(c: ConfigReader<RopeKey>, size: number): RopeSpec | undefined {
  const { path, json } = ropeObject(c)
  if ((json.rope_type ?? json.type) !== 'dynamic' || json.alpha === undefined) return undefined
  const r = c.within<'rope_theta' | 'alpha' | 'type' | 'rope_type'>(path, json, {
    used: ['rope_theta', 'alpha', 'type', 'rope_type'],
    only: { factor: [1] },
    ignored: { 'of YaRN': ['beta_fast', 'beta_slow', 'mscale', 'mscale_all_dim'] },
  })
  const theta = r.number('rope_theta', c.number('rope_theta', 10000, 1, limits.theta), 1, 1e12)
  const scaled = theta * r.number('alpha', undefined, 1, limits.factor) ** (size / (size - 2))
  if (scaled > limits.theta) r.unsupported('alpha', 'one that gives a base below 1e12')
  return { kind: 'default', theta: scaled }
}

export function readHunyuanV1MoeConfig(c: ConfigReader<Key>): HunyuanV1MoeConfig {
  const headSize = readAnyHeadSize(c)
  if (c.int('attention_head_dim', headSize) !== headSize)
    c.unsupported('attention_head_dim', `the same as head_dim, ${headSize}`)
  const shared = readDecoder(c, {
    ...{ eps: 1e-5, theta: 10000, maxPositions: 2048, headSize, rope: readAlpha(c, headSize) },
    ropeKinds: ['default', 'linear', 'llama3'],
  })
  const each = (key: Key, fallback: number) => readEach(c, key, shared.numLayers, fallback)
  const expertSize = c.int('intermediate_size', 11008)
  if (each('moe_intermediate_size', expertSize) !== expertSize)
    c.unsupported('moe_intermediate_size', `intermediate_size, ${expertSize}`)
  if (each('num_shared_expert', 1) !== 1) c.unsupported('num_shared_expert', '1')
  const experts = each('num_experts', 1)
  if (experts > limits.count) c.invalid('num_experts', `at most ${limits.count}`)
  const topK = each('moe_topk', 1)
  if (topK > experts) c.invalid('moe_topk', `at most the number of experts, ${experts}`)
  return {
    ...{ architecture: 'hunyuan_v1_moe', ...shared, expertSize, topK },
    experts: Array<'ffn'>(experts).fill('ffn'),
    attentionBias: c.flag('attention_bias', false),
  }
}
