import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { bucketOf } from '../../lib/layers/distance_bias.ts'
import { isSeq2Seq } from '../../lib/models/kinds.ts'
import { readSeq2SeqConfig } from '../../lib/seq2seq/config.ts'
import type { Json } from '../../lib/weights/json.ts'
import { fixture, golden } from '../support/golden.ts'

const read = (folder: string): Json =>
  JSON.parse(readFileSync(fixture('golden/seq2seq', folder, 'config.json'), 'utf8'))

describe('configurations of encoder-decoders', () => {
  it.each([
    [12, 6, [1, 3, 5, 7, 9, 11]],
    [3, 1, [1]],
    [7, 3, [1, 3, 5]],
    [2, 2, [0, 1]],
    [5, 4, [0, 1, 2, 3, 4]],
    [4, 0, []],
  ])('of %i layers, %i of them sparse: %j', (layers, sparse, want) => {
    const json = { ...read('base-f32'), num_layers: layers, num_sparse_encoder_layers: sparse }
    expect(readSeq2SeqConfig(json).encoder.sparse).toEqual(want)
  })

  it('google/switch-base-8, and T5 of both versions', () => {
    const switchBase = {
      ...{
        model_type: 'switch_transformers',
        architectures: ['SwitchTransformersForConditionalGeneration'],
      },
      ...{ add_router_probs: false, batch_prioritized_routing: false, d_ff: 3072, d_kv: 64 },
      ...{ d_model: 768, decoder_sparse_step: 2, decoder_start_token_id: 0, dropout_rate: 0.1 },
      ...{
        encoder_sparse_step: 2,
        eos_token_id: 1,
        expert_capacity: 64,
        feed_forward_proj: 'relu',
      },
      ...{ initializer_factor: 1, is_encoder_decoder: true, is_gated_act: false, num_layers: 12 },
      ...{ layer_norm_epsilon: 1e-6, num_decoder_layers: 12, num_experts: 8, num_heads: 12 },
      ...{ num_selected_experts: 1, num_sparse_decoder_layers: 6, num_sparse_encoder_layers: 6 },
      ...{ pad_token_id: 0, relative_attention_max_distance: 128, router_bias: false },
      ...{ relative_attention_num_buckets: 32, router_dtype: 'float32', vocab_size: 32128 },
      ...{ router_ignore_padding_tokens: false, router_jitter_noise: 0.01, use_cache: true },
      ...{ router_type: 'tokens_masked', tie_word_embeddings: false },
    }
    expect(readSeq2SeqConfig(switchBase)).toMatchObject({
      ...{ architecture: 'Switch Transformers', activation: 'relu', scaleLogits: false },
      moe: { numExperts: 8, capacity: 64, routerBias: false },
    })
    const t5 = {
      ...{ model_type: 't5', vocab_size: 32128, d_model: 512, d_kv: 64, d_ff: 2048, num_layers: 6 },
      ...{ num_heads: 8, n_positions: 512, decoder_start_token_id: 0, eos_token_id: 1 },
    }
    expect(readSeq2SeqConfig(t5)).toMatchObject({
      ...{ architecture: 'T5', activation: 'relu', moe: undefined, scaleLogits: true },
      ...{ tieWordEmbeddings: true, decoder: { numLayers: 6, sparse: [] } },
    })
    const gated = { feed_forward_proj: 'gated-gelu', dense_act_fn: 'gelu_new', is_gated_act: true }
    for (const head of [
      { tie_word_embeddings: false },
      { tie_word_embeddings: true, scale_decoder_outputs: false }, // as transformers 5 has it
    ])
      expect(readSeq2SeqConfig({ ...t5, ...gated, ...head })).toMatchObject({
        ...{ activation: 'gegluTanh', scaleLogits: false },
      })
  })

  it.each(['base-f32', 't5-gated-f32'])(
    '%s: the published class stands for model_type',
    (folder) => {
      const { model_type: _, ...json } = read(folder)
      expect(isSeq2Seq(json)).toBe(true)
      expect(readSeq2SeqConfig(json)).toEqual(readSeq2SeqConfig(read(folder)))
      expect(isSeq2Seq({ ...json, architectures: ['T5EncoderModel'] })).toBe(false)
    },
  )

  it.each([
    ['t5-gated-f32', 'feed_forward_proj', 'gated-silu', 'ERR_MOE_UNSUPPORTED'],
    ['t5-gated-f32', 'dense_act_fn', 'gelu', 'ERR_MOE_UNSUPPORTED'],
    ['t5-gated-f32', 'is_gated_act', false, 'ERR_MOE_UNSUPPORTED'],
    ['t5-gated-f32', 'num_experts', 8, 'ERR_MOE_UNSUPPORTED'],
    ['t5-gated-f32', 'is_encoder_decoder', false, 'ERR_MOE_UNSUPPORTED'],
    ['t5-gated-f32', 'relative_attention_num_buckets', 2, 'ERR_MOE_CHECKPOINT'],
    ['t5-gated-f32', 'relative_attention_max_distance', 8, 'ERR_MOE_CHECKPOINT'],
    ['base-f32', 'dense_act_fn', 'gelu', 'ERR_MOE_UNSUPPORTED'],
    ['base-f32', 'router_dtype', 'bfloat16', 'ERR_MOE_UNSUPPORTED'],
    ['base-f32', 'num_selected_experts', 2, 'ERR_MOE_UNSUPPORTED'],
    ['base-f32', 'expert_capacity', 0, 'ERR_MOE_CHECKPOINT'],
    ['base-f32', 'num_experts', 5000, 'ERR_MOE_UNSUPPORTED'],
    ['base-f32', 'num_sparse_encoder_layers', 5, 'ERR_MOE_CHECKPOINT'],
    ['base-f32', 'decoder_start_token_id', 96, 'ERR_MOE_CHECKPOINT'],
    ['base-f32', 'd_kv', 0, 'ERR_MOE_CHECKPOINT'],
    ['base-f32', 'share_bias', true, 'ERR_MOE_UNSUPPORTED'],
  ])('refuses of %s %s = %j', (folder, key, value, code) =>
    expect(() => readSeq2SeqConfig({ ...read(folder), [key]: value })).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(`config.json: ${key}`) }),
    ),
  )
})

describe('buckets of distances', () => {
  it.each(['base-f32', 'overflow-tied-f32'])('those of %s', (folder) => {
    const { buckets, maxDistance } = readSeq2SeqConfig(read(folder))
    const want = golden(fixture('golden/seq2seq', folder, 'golden.safetensors'))
    const table = golden(fixture('golden/seq2seq', folder, 'model.safetensors')).rows(
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
    )
    const S = want.ids('encode.input_ids').length
    const bias = want.get('encode.position_bias')
    for (let query = 0; query < S; query++)
      for (let key = 0; key < S; key++) {
        const bucket = bucketOf(key - query, { buckets, maxDistance, bidirectional: true })
        expect(table[bucket]![1]).toBe(bias[(S + query) * S + key])
      }
  })

  it('a decoder looks back only, and far distances are one', () => {
    const of = { buckets: 32, maxDistance: 128, bidirectional: false }
    expect([1, 0, -1, -15, -16, -31, -127, -128, -1000].map((r) => bucketOf(r, of))).toEqual([
      ...[0, 0, 1, 15, 16, 21, 31, 31, 31],
    ])
  })
})
