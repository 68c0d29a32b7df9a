import type { FeedForward } from '../layers/decoder_layer.ts'
import { DenseLayer } from '../layers/dense.ts'
import { distanceBias } from '../layers/distance_bias.ts'
import { GatedModules } from '../layers/gated_modules.ts'
import { MoeLayer } from '../layers/moe.ts'
import { RmsNorm } from '../layers/norm.ts'
import type { Module } from '../layers/projection.ts'
import type { CacheSpecs, ExpertInfo, LayerInfo, Recording, Trace } from '../layers/step.ts'
import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { CapacityRouter } from '../routers/capacity_router.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import {
  CrossAttention,
  cachesOf,
  type KeyValueCache,
  type Looks,
  type Places,
  SelfAttention,
} from './attention.ts'
import type { Seq2SeqConfig } from './config.ts'

/** Where a pass of one stack is recorded: T tokens of B texts, one after the other. */
export interface StackStep extends Recording {
  /** [T] i32 */
  ids: Tensor
  places: Places
  trace: Trace
}

export interface EncoderStep extends StackStep {
  /** Where keys and values are between their projection and attention, by one layer after the other. */
  cache: KeyValueCache
}

export interface DecoderStep extends StackStep {
  /** What the tokens see of the encoder's output. */
  looks: Looks
  /** One a layer. */
  caches: readonly KeyValueCache[]
  /** [R] i32, tokens whose logits are wanted. */
  logitRows: Tensor
}

/** One of E experts a token, each with a capacity in a text (arXiv:2101.03961, section 2.1 and 2.2). */
function switchLayer(weights: Weights, prefix: string, c: Seq2SeqConfig): MoeLayer {
  const { hiddenSize: hidden, innerSize: size, activation, moe } = c
  const { numExperts: experts, capacity, routerBias } = moe!
  const kinds = Array<ops.ExpertKind>(experts).fill('ffn')
  const router = `${prefix}.router.classifier`
  const choice = { hidden, kinds, topK: 1, weights: 'scores' } as const
  const bias = routerBias ? `${router}.bias` : undefined
  const chosen = new TopKRouter(weights, `${router}.weight`, { ...choice, bias })
  const limits = { experts, topK: 1, capacity: () => capacity, order: 'token' } as const
  const matrices = (name: string, shape: [number, number]) =>
    kinds.map((_, e) =>
      weights.matrix([rowsOf(`${prefix}.experts.expert_${e}.${name}.weight`, shape)], {
        share: 'expert',
      }),
    )
  const gateUp = matrices('wi', [size, hidden])
  const down = matrices('wo', [hidden, size])
  return new MoeLayer(new CapacityRouter(chosen, limits), {
    ...{ kinds, topK: 1, gateUp, down, activation },
  })
}

/** @param adapted something is added to its matrices, which makes it slower; only to gated ones */
function denseLayer(
  weights: Weights,
  prefix: string,
  c: Seq2SeqConfig,
  adapted: boolean,
): FeedForward {
  const { hiddenSize: hidden, innerSize: size, activation } = c
  const options = { hidden, size, activation }
  const gated = { gate: 'wi_0', up: 'wi_1', down: 'wo' }
  if (activation !== 'relu' && adapted)
    return new GatedModules(weights, prefix, { ...options, ...gated })
  const gateUp = activation === 'relu' ? ['wi'] : [gated.gate, gated.up]
  return new DenseLayer(weights, prefix, { ...options, names: { gateUp, down: gated.down } })
}

/** Which of the blocks there are it is. */
interface BlockKind {
  decoder: boolean
  sparse: boolean
  /** Low-rank experts are beside its matrices. */
  adapted: boolean
}

/** x += attention(norm(x)); in a decoder x += cross(norm(x)); x += block(norm(x)). */
class Block implements LayerInfo {
  readonly caches: CacheSpecs
  readonly experts: ExpertInfo | undefined
  readonly modules: readonly Module[]
  readonly cross: CrossAttention | undefined
  readonly #attention: SelfAttention
  readonly #feedForward: FeedForward
  readonly #norms: RmsNorm[]

  constructor(weights: Weights, prefix: string, c: Seq2SeqConfig, is: BlockKind) {
    const part = (index: number, name: string) => `${prefix}.layer.${index}.${name}`
    const last = is.decoder ? 2 : 1
    this.caches = is.decoder ? cachesOf(c) : {}
    this.#attention = new SelfAttention(weights, part(0, 'SelfAttention'), c)
    if (is.decoder) this.cross = new CrossAttention(weights, part(1, 'EncDecAttention'), c)
    const mlp = c.architecture === 'T5' ? 'DenseReluDense' : 'mlp'
    this.#feedForward = is.sparse
      ? switchLayer(weights, part(last, mlp), c)
      : denseLayer(weights, part(last, mlp), c, is.adapted)
    this.experts = this.#feedForward.info
    this.modules = [this.#attention, this.cross, this.#feedForward].flatMap(
      (one) => one?.modules ?? [],
    )
    this.#norms = Array.from(
      { length: last + 1 },
      (_, i) => new RmsNorm(weights, part(i, 'layer_norm'), c.hiddenSize, c.rmsNormEps),
    )
  }

  forward(
    step: StackStep,
    x: Tensor,
    bias: Tensor,
    cache: KeyValueCache,
    looks: Looks | undefined,
  ): Tensor {
    const normed = (i: number, of: Tensor) => this.#norms[i]!.forward(step, of)
    let h = this.#attention.forward(step, normed(0, x), x, step.places, cache, bias)
    if (this.cross) h = this.cross.forward(step, normed(1, h), h, looks!, cache)
    const { out, routing } = this.#feedForward.forward(step, normed(this.cross ? 2 : 1, h), h)
    step.trace.hiddenStates.push(out)
    step.trace.routing.push(routing)
    return out
  }
}

/** Blocks one above the other, which share what distance adds to scores, and a norm. */
class Stack {
  readonly blocks: readonly Block[]
  readonly #bias: Tensor
  readonly #norm: RmsNorm

  constructor(weights: Weights, name: 'encoder' | 'decoder', c: Seq2SeqConfig, adapted: boolean) {
    const { numLayers, sparse } = c[name]
    const decoder = name === 'decoder'
    this.blocks = Array.from({ length: numLayers }, (_, l) => {
      const is = { decoder, sparse: sparse.includes(l), adapted }
      return new Block(weights, `${name}.block.${l}`, c, is)
    })
    const table = `${name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`
    this.#bias = distanceBias(weights, table, c.numHeads, { ...c, bidirectional: !decoder })
    const norm = `${name}.final_layer_norm`
    this.#norm = new RmsNorm(weights, norm, c.hiddenSize, c.rmsNormEps)
    weights.ignore(new RegExp(`^${name}\\.embed_tokens\\.weight$`))
    // Early T5 files have one that no code reads.
    weights.ignore(/\.EncDecAttention\.relative_attention_bias\.weight$/)
  }

  forward(
    step: StackStep,
    x: Tensor,
    cacheOf: (layer: number) => KeyValueCache,
    looks?: Looks,
  ): Tensor {
    return this.blocks.reduce(
      (h, block, l) => block.forward(step, h, this.#bias, cacheOf(l), looks),
      x,
    )
  }

  /** [T, H] in the dtype of the step's activations */
  normed(step: Recording, x: Tensor): Tensor {
    return this.#norm.forward(step, x)
  }
}

/**
 * T5 (arXiv:1910.10683), and Switch Transformers, some of whose blocks have experts (arXiv:2101.03961): no rotation, no
 * biases, no positions but what the distance of two tokens adds to their score.
 */
export class EncoderDecoder {
  readonly config: Seq2SeqConfig
  readonly encoder: readonly LayerInfo[]
  readonly decoder: readonly LayerInfo[]
  readonly #table: Tensor
  readonly #head: { weight: Weight; scale: number | undefined }
  readonly #encoder: Stack
  readonly #decoder: Stack

  /** @param adapted low-rank experts are to be beside its matrices */
  constructor(config: Seq2SeqConfig, weights: Weights, adapted = false) {
    this.config = config
    const { vocabSize, hiddenSize, tieWordEmbeddings, scaleLogits } = config
    const shape = [vocabSize, hiddenSize]
    // transformers 5 says of every T5 that its head is tied, and takes one that is in the file.
    const tied = tieWordEmbeddings && !weights.has('lm_head.weight')
    this.#table = weights.table('shared.weight', shape, tied ? 'dense' : 'embedding')
    this.#head = {
      weight: weights.matrix([rowsOf(tied ? 'shared.weight' : 'lm_head.weight', shape)], {
        ...{ share: tied ? 'none' : 'dense', part: 'head' },
      }),
      scale: scaleLogits ? hiddenSize ** -0.5 : undefined,
    }
    this.#encoder = new Stack(weights, 'encoder', config, adapted)
    this.#decoder = new Stack(weights, 'decoder', config, adapted)
    this.encoder = this.#encoder.blocks
    this.decoder = this.#decoder.blocks
  }

  /** The encoder's residual stream behind its last block, [T, H] f32. */
  encode(step: EncoderStep): Tensor {
    const x = ops.embedding(step.plan, { table: this.#table, ids: step.ids }).out // [T, H]
    return this.#encoder.forward(step, x, () => step.cache)
  }

  /** The encoder's output, normed: [T, H] in the step's dtype. */
  encoded(step: Recording, x: Tensor): Tensor {
    return this.#encoder.normed(step, x)
  }

  /** Keeps what the decoder's layers see of the encoder's output [S, H]. */
  keep(step: Recording, encoded: Tensor, slots: Tensor, caches: readonly KeyValueCache[]): void {
    for (const [l, { cross }] of this.#decoder.blocks.entries())
      cross!.keep(step, encoded, slots, caches[l]!)
  }

  /** Logits [R, V] f32 of the rows asked for. */
  decode(step: DecoderStep): Tensor {
    const { plan, ids, logitRows: rows, looks, caches } = step
    const x = ops.embedding(plan, { table: this.#table, ids }).out // [T, H]
    const out = this.#decoder.forward(step, x, (l) => caches[l]!, looks)
    const last = ops.gatherRows(plan, { x: out, rows }).out // [R, H]
    return ops.linear(plan, { x: this.#decoder.normed(step, last), ...this.#head }).out
  }
}
