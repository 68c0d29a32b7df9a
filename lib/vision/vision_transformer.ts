import { EncoderAttention, type EncoderPlaces, type Looks } from '../layers/encoder_attention.ts'
import { type Experts, MoeLayer } from '../layers/moe.ts'
import { LayerNorm } from '../layers/norm.ts'
import { SoftMoeLayer } from '../layers/soft_moe.ts'
import type { ExpertInfo, LayerInfo, Recording } from '../layers/step.ts'
import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { CapacityRouter } from '../routers/capacity_router.ts'
import { ExpertChoiceRouter } from '../routers/expert_choice_router.ts'
import type { Routing, SoftRouting } from '../routers/router.ts'
import { SoftRouter } from '../routers/soft_router.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import { columnsOf, rowsOf, type Weights } from '../weights/weights.ts'
import { capacityOf, type VisionConfig } from './config.ts'
import { sincos2d } from './positions.ts'

const eps = 1e-6
const norm = (weights: Weights, name: string, width: number): LayerNorm =>
  new LayerNorm(weights, name, width, eps, ['/scale', '/bias'])

/** Where a batch of B images is recorded. */
export interface VisionStep extends Recording {
  /** [B, height, width, channels] */
  images: Tensor
  places: EncoderPlaces
  /** [B + 1] i32: the tokens of each image */
  imageSegments: Tensor
  /** [B] i32: the first token of each image, zeros, and where its tokens are */
  firstTokens: Tensor
  zeros: Tensor
  looks: Looks
}

export interface VisionOutput {
  /** [B, representation size or H] f32: what the head reads */
  pooled: Tensor
  /** [B, classes] f32; undefined without a head. */
  logits: Tensor | undefined
  /** One a layer; undefined for a layer without experts. */
  routing: ({ sparse: Routing } | { soft: SoftRouting } | undefined)[]
  /** One a layer: [T, H] f32 */
  hiddenStates: Tensor[]
}

/** A linear map with a bias, its kernel [in, out] as Flax has it. */
class Dense {
  readonly #map: { weight: Weight; bias: Tensor }

  constructor(weights: Weights, name: string, [inputs, outputs]: [number, number]) {
    this.#map = {
      weight: weights.matrix([columnsOf(`${name}/kernel`, [inputs, outputs])]),
      bias: weights.vector(`${name}/bias`, [outputs]),
    }
  }

  /** x [T, inputs] -> [T, outputs] f32, or in the dtype asked for */
  forward(
    { plan }: Recording,
    x: Tensor,
    options: Pick<ops.LinearInputs, 'activation' | 'residual' | 'dtype'> = {},
  ): Tensor {
    return ops.linear(plan, { x, ...this.#map, ...options }).out
  }
}

/** down(gelu(up x)) */
class Mlp {
  readonly #up: Dense
  readonly #down: Dense

  constructor(weights: Weights, prefix: string, H: number, M: number) {
    this.#up = new Dense(weights, `${prefix}/Dense_0`, [H, M])
    this.#down = new Dense(weights, `${prefix}/Dense_1`, [M, H])
  }

  forward(step: Recording, x: Tensor, residual: Tensor): Tensor {
    const hidden = this.#up.forward(step, x, { activation: 'geluTanh', dtype: step.dtype })
    return this.#down.forward(step, hidden, { residual })
  }
}

/** All experts of a layer: kernels [E, in, out] and biases [E, out] in one tensor each. */
function visionExperts(
  weights: Weights,
  prefix: string,
  { hiddenSize: H, mlpSize: M }: VisionConfig,
  E: number,
): Pick<Experts, 'gateUp' | 'down' | 'activation'> & { biases: { gateUp: Tensor; down: Tensor } } {
  const each = (name: string, [inputs, outputs]: [number, number]) =>
    Array.from({ length: E }, (_, slab) =>
      weights.matrix([columnsOf(`${prefix}/${name}/kernel`, [E, inputs, outputs], { slab })], {
        share: 'expert',
      }),
    )
  const biases = (name: string, outputs: number) =>
    weights.gathered([rowsOf(`${prefix}/${name}/bias`, [E, outputs])], [E, outputs], 'expert')
  return {
    gateUp: each('Dense_0', [H, M]),
    down: each('Dense_1', [M, H]),
    biases: { gateUp: biases('Dense_0', M), down: biases('Dense_1', H) },
    activation: 'geluTanh',
  }
}

/** The experts of a block, and their router. */
function visionMoe(weights: Weights, prefix: string, c: VisionConfig): MoeLayer | SoftMoeLayer {
  const { hiddenSize: hidden } = c
  const { numExperts: E, router } = c.moe!
  const experts = visionExperts(weights, `${prefix}/Mlp`, c, E)
  const at = `${prefix}/Router`
  if (router.kind === 'soft') {
    const names = { slots: `${at}/mu`, scale: `${at}/scale` }
    const shape = { hidden, experts: E, slots: router.slots }
    return new SoftMoeLayer(new SoftRouter(weights, names, shape), experts)
  }
  const { capacity, kind } = router
  const kinds = Array<ops.ExpertKind>(E).fill('ffn')
  const projection = columnsOf(`${at}/dense/kernel`, [hidden, E])
  if (kind === 'experts') {
    const taken = (tokens: number) => capacityOf(capacity, tokens, E)
    const chosen = new ExpertChoiceRouter(weights, projection, taken)
    return new MoeLayer(chosen, { ...experts, kinds, topK: E })
  }
  const { topK, order } = router
  const chosen = new TopKRouter(weights, projection, { hidden, kinds, topK, weights: 'scores' })
  const taken = (tokens: number) => capacityOf(capacity, tokens * topK, E)
  const limited = new CapacityRouter(chosen, { experts: E, topK, capacity: taken, order })
  return new MoeLayer(limited, { ...experts, kinds, topK })
}

/** x += attention(norm(x)); x += mlp(norm(x)), or experts. */
class EncoderBlock implements LayerInfo {
  readonly caches = {}
  readonly experts: ExpertInfo | undefined
  readonly #norms: [LayerNorm, LayerNorm]
  readonly #attention: EncoderAttention
  readonly #mlp: Mlp | undefined
  readonly #moe: MoeLayer | SoftMoeLayer | undefined

  constructor(weights: Weights, prefix: string, c: VisionConfig, hasExperts: boolean) {
    const { hiddenSize: hidden, numHeads: heads, headSize, qkNorm } = c
    this.#norms = [
      norm(weights, `${prefix}/LayerNorm_0`, hidden),
      norm(weights, `${prefix}/LayerNorm_1`, hidden),
    ]
    const shape = { hidden, heads, headSize, qkNorm }
    this.#attention = new EncoderAttention(weights, `${prefix}/SelfAttention`, shape)
    if (hasExperts) this.#moe = visionMoe(weights, `${prefix}/Moe`, c)
    this.experts = this.#moe?.info
    if (!hasExperts) this.#mlp = new Mlp(weights, `${prefix}/Mlp`, hidden, c.mlpSize)
  }

  forward(step: VisionStep, x: Tensor): { out: Tensor; routing: VisionOutput['routing'][number] } {
    const [before, behind] = this.#norms
    const h = this.#attention.forward(step, before.forward(step, x), step.places, { residual: x })
    const normed = behind.forward(step, h)
    if (this.#mlp) return { out: this.#mlp.forward(step, normed, h), routing: undefined }
    const { out, ...routing } = this.#moe!.forward(step, normed, h)
    return { out, routing: 'soft' in routing ? routing : { sparse: routing.routing } }
  }
}

/** Attention of a learnt probe to all tokens: one vector an image (arXiv:2106.04560, section 3.4). */
class AttentionPooling {
  readonly #probe: Tensor
  readonly #attention: EncoderAttention
  readonly #norm: LayerNorm
  readonly #mlp: Mlp

  constructor(weights: Weights, c: VisionConfig) {
    const { hiddenSize: hidden, numHeads: heads, headSize, qkNorm } = c
    this.#probe = weights.gathered([rowsOf('MapHead/probe', [1, 1, hidden])], [1, hidden])
    const shape = { hidden, heads, headSize, qkNorm }
    const name = 'MapHead/MultiHeadDotProductAttention'
    this.#attention = new EncoderAttention(weights, name, shape)
    this.#norm = norm(weights, 'MapHead/LayerNorm', hidden)
    this.#mlp = new Mlp(weights, 'MapHead/Mlp', hidden, c.mlpSize)
  }

  forward(step: VisionStep, x: Tensor): Tensor {
    const { plan, zeros: rows, looks: places } = step
    const probe = ops.gatherRows(plan, { x: this.#probe, rows }).out // [B, H] f32
    const queries = { x: probe, places }
    const a = this.#attention.forward(step, x, step.places, { queries })
    return this.#mlp.forward(step, this.#norm.forward(step, a), a)
  }
}

/**
 * A vision transformer (arXiv:2010.11929) whose blocks may have experts: V-MoE (arXiv:2106.05974), expert choice
 * (2202.09368), Soft MoE (2308.00951), in the layout of google-research/vmoe.
 */
export class VisionTransformer {
  readonly config: VisionConfig
  readonly layers: readonly LayerInfo[]
  readonly #embedding: { weight: Weight; bias: Tensor }
  readonly #classToken: Tensor | undefined
  readonly #positions: Tensor | undefined
  readonly #blocks: EncoderBlock[]
  readonly #norm: LayerNorm
  readonly #pooling: AttentionPooling | undefined
  readonly #representation: Dense | undefined
  readonly #head: Dense | undefined

  constructor(config: VisionConfig, weights: Weights) {
    this.config = config
    const { hiddenSize: H, patchHeight, patchWidth, channels, classifier } = config
    const kernel = [patchHeight, patchWidth, channels, H]
    this.#embedding = {
      weight: weights.matrix([columnsOf('embedding/kernel', kernel, { inner: 3 })]),
      bias: weights.vector('embedding/bias', [H]),
    }
    if (classifier === 'token') this.#classToken = weights.gathered([rowsOf('cls', [1, 1, H])], [H])
    this.#positions = positions(config, weights)
    const hasExperts = (l: number) => config.moe?.layers.includes(l) ?? false
    this.#blocks = Array.from(
      { length: config.numLayers },
      (_, l) => new EncoderBlock(weights, `Encoder/encoderblock_${l}`, config, hasExperts(l)),
    )
    this.layers = this.#blocks
    this.#norm = norm(weights, 'Encoder/encoder_norm', H)
    if (classifier === 'map') this.#pooling = new AttentionPooling(weights, config)
    const { representationSize: R, numClasses } = config
    if (R) this.#representation = new Dense(weights, 'pre_logits', [H, R])
    if (numClasses) this.#head = new Dense(weights, 'head', [R ?? H, numClasses])
  }

  forward(step: VisionStep): VisionOutput {
    const { plan, dtype, images } = step
    const { patchHeight, patchWidth } = this.config
    const rows = ops.patches(plan, { images, patchHeight, patchWidth, dtype }).out
    const patches = ops.linear(plan, { x: rows, ...this.#embedding }).out // [B * patches, H]
    const own = { classToken: this.#classToken, positions: this.#positions }
    const embedded = { patches, ...own, images: images.shape[0]! }
    let x = ops.imageTokens(plan, embedded).out // [T, H]
    const routing: VisionOutput['routing'] = []
    const hiddenStates: Tensor[] = []
    for (const block of this.#blocks) {
      const layer = block.forward(step, x)
      routing.push(layer.routing)
      hiddenStates.push(layer.out)
      x = layer.out
    }
    const vector = this.#pool(step, this.#norm.forward({ ...step, dtype: 'f32' }, x))
    const pooled = this.#representation?.forward(step, vector, { activation: 'tanh' }) ?? vector
    return { pooled, logits: this.#head?.forward(step, pooled), routing, hiddenStates }
  }

  #pool(step: VisionStep, x: Tensor): Tensor {
    const { plan, firstTokens: rows, imageSegments: segments } = step
    if (this.#pooling) return this.#pooling.forward(step, x)
    if (this.config.classifier === 'gap') return ops.segmentMean(plan, { x, segments }).out
    return ops.gatherRows(plan, { x, rows }).out
  }
}

/** The table that is added to tokens: [N, H] f32. */
function positions(config: VisionConfig, weights: Weights): Tensor | undefined {
  const { positions, tokens, hiddenSize: H, classifier } = config
  if (positions.kind === 'none') return undefined
  if (positions.kind !== 'sincos2d') {
    const name = 'Encoder/posembed_input/pos_embedding'
    return weights.gathered([rowsOf(name, [1, tokens, H])], [tokens, H])
  }
  const rows = Math.floor(config.imageHeight / config.patchHeight)
  const columns = Math.floor(config.imageWidth / config.patchWidth)
  const shape = { rows, columns, width: H, first: classifier === 'token' ? 1 : 0 }
  return weights.constant(sincos2d(shape, positions.temperature), [tokens, H])
}
