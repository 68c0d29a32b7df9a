import type { Json } from '../weights/json.ts'

/** Whether a config.json is a vision transformer's. */
export const isVision = ({ model_type: type }: Json): boolean =>
  type === 'vmoe' || type === 'soft_moe'

/** Whether it is an encoder-decoder's. */
export const isSeq2Seq = ({ model_type: type }: Json): boolean =>
  type === 'switch_transformers' || type === 't5'
