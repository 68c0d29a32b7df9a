import type { EncoderPlaces } from '../layers/encoder_attention.ts'
import {
  type ActivationDType,
  type DType,
  type Gpu,
  type NumberArray,
  native,
  type Plan,
  type Tensor,
} from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import type { VisionTransformer } from './vision_transformer.ts'

/** What a plan is recorded for. */
export interface BatchShape {
  images: number
  /** Of the pixels. */
  dtype: 'f32' | 'u8'
  /** Tokens that are routed together. */
  groupSize: number
  routing: boolean
}

/** A batch recorded, with the tensors that were made for it. */
export interface BatchPlan {
  plan: Plan
  tensors: Tensor[]
}

const range = (count: number, each: (i: number) => number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => each(i))

/** Records the forward pass of a batch of images. */
export function recordBatch(
  plan: Plan,
  model: VisionTransformer,
  shape: BatchShape,
  { dtype, gpu }: { dtype: ActivationDType; gpu: Gpu | undefined },
): BatchPlan {
  const { config } = model
  const { images: B, groupSize, routing } = shape
  const { tokens: N, numHeads, headSize, imageHeight, imageWidth, channels } = config
  const [T, perImage] = [B * N, Math.ceil(N / blockTokens)]
  const tensors: Tensor[] = []
  const keep = (tensor: Tensor): Tensor => {
    tensors.push(tensor)
    return tensor
  }
  const made = (data: NumberArray, of: number[], type: DType = 'i32') =>
    keep(native().tensorFrom(data, of, type, gpu))
  const image = (t: number) => Math.floor(t / N)
  const cache = (...of: number[]) =>
    keep(native().tensor([B * perImage, numHeads, ...of], dtype, gpu))
  const places: EncoderPlaces = {
    keys: cache(headSize, blockTokens),
    values: cache(blockTokens, headSize),
    slots: made(
      range(T, (t) => image(t) * perImage * blockTokens + (t % N)),
      [T],
    ),
    sequences: made(range(T, image), [T]),
    blockTable: made(
      range(B * perImage, (i) => i),
      [B, perImage],
    ),
    starts: made(new Int32Array(T), [T]),
    ends: made(new Int32Array(T).fill(N - 1), [T]),
  }
  const zeros = made(new Int32Array(B), [B])
  const looks = {
    starts: zeros,
    ends: made(new Int32Array(B).fill(N - 1), [B]),
    sequences: made(
      range(B, (b) => b),
      [B],
    ),
  }
  const segmentsOf = (size: number) =>
    made(
      range(T / size + 1, (b) => b * size),
      [T / size + 1],
    )
  const { logits, pooled, ...trace } = model.forward({
    ...{ plan, dtype, places, looks, zeros },
    images: plan.input('images', [B, imageHeight, imageWidth, channels], shape.dtype),
    segments: { offsets: segmentsOf(groupSize), tokens: groupSize },
    imageSegments: segmentsOf(N),
    firstTokens: made(
      range(B, (b) => b * N),
      [B],
    ),
  })
  plan.output('pooled', pooled)
  if (logits) plan.output('logits', logits)
  if (!routing) return { plan, tensors }
  for (const [l, layer] of trace.routing.entries()) {
    if (!layer) continue
    const parts = 'soft' in layer ? layer.soft : layer.sparse
    for (const [name, tensor] of Object.entries(parts) as [string, Tensor][])
      if (name !== 'offsets') plan.output(`${name}.${l}`, tensor)
  }
  for (const [l, hidden] of trace.hiddenStates.entries()) plan.output(`hidden.${l}`, hidden)
  return { plan, tensors }
}
