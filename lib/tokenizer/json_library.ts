import { Tokenizer as Pipeline } from '@huggingface/tokenizers'
import type { Json } from '../weights/json.ts'

/**
 * What the library goes on without, and prints.
 *
 * @throws {RangeError} for a part that replaces or splits at nothing
 */
function checkPatterns(part: unknown): void {
  JSON.stringify(part, (_, value) => {
    const { type, pattern } = value ?? {}
    const needed = type === 'Replace' || type === 'Split'
    if (needed && typeof (pattern?.Regex ?? pattern?.String) !== 'string')
      throw new RangeError(`${type} without a pattern`)
    return value
  })
}

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
  checkPatterns([parts.normalizer, parts.pre_tokenizer, parts.decoder])
  return new Pipeline({ ...nothing, ...parts }, config)
}
