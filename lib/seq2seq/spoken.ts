import type { TextStream, Tokenizer } from '../tokenizer/index.ts'

/** T5's sentinels: a pre-trained model answers each of its input with what stood there. */
const sentinel = /^<extra_id_\d+>$/

/** Text of a decoder's ids: sentinels are part of the answer, other special tokens are not. */
export function spokenStream(tokenizer: Tokenizer, startId: number): TextStream {
  const special = [...tokenizer.specialIds].filter(([text]) => !sentinel.test(text))
  const hidden = new Set(special.map(([, id]) => id))
  const stream = tokenizer.stream(startId, { special: true })
  return {
    push: (id) => (hidden.has(id) ? '' : stream.push(id)),
    end: () => stream.end(),
  }
}
