import { Tokenizer as Pipeline } from '@huggingface/tokenizers'
import type { Json } from '../weights/json.ts'

/** Parts of a tokenizer.json as the library makes them; what is not given does nothing. */
export function libraryParts(parts: Json, config: Json = {}): Pipeline {
  const nothing = {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    model: { type: 'BPE', vocab: {}, merges: [] },
    post_processor: null,
    decoder: null,
  }
  return new Pipeline({ ...nothing, ...parts }, config)
}
