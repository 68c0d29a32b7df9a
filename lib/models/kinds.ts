import type { Json } from '../weights/json.ts'

/** Whether a config.json is a vision transformer's. */
export const isVision = ({ model_type: type }: Json): boolean =>
  type === 'vmoe' || type === 'soft_moe'

const seq2seqClasses = {
  switch_transformers: 'Switch Transformers',
  SwitchTransformersForConditionalGeneration: 'Switch Transformers',
  t5: 'T5',
  T5ForConditionalGeneration: 'T5',
} as const

/** Which encoder-decoder a config.json is of, by `model_type`, or without one by the published class. */
export function seq2seqKind({ model_type: type, architectures }: Json) {
  const named = (type ?? undefined) === undefined && Array.isArray(architectures)
  const names: unknown[] = named ? architectures : [type]
  return names.flatMap((name) =>
    typeof name === 'string' && Object.hasOwn(seq2seqClasses, name)
      ? seq2seqClasses[name as keyof typeof seq2seqClasses]
      : [],
  )[0]
}

/** Whether it is an encoder-decoder's. */
export const isSeq2Seq = (json: Json): boolean => seq2seqKind(json) !== undefined
