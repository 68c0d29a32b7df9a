import { readFileSync } from 'node:fs'
import { readSentencePiece } from '../../lib/tokenizer/sentencepiece_model.ts'

/** A BPE tokenizer.model as a tokenizer.json, as transformers' converter makes it. */
export function tokenizerJsonOf(file: string): Record<string, unknown> {
  const { pieces } = readSentencePiece(file, readFileSync(file))
  const vocab = Object.fromEntries(pieces.map(({ text }, id) => [text, id]))
  const merges = pieces
    .filter(({ type }) => type === 1)
    .sort((a, b) => b.score - a.score)
    .flatMap(({ text }) =>
      Array.from({ length: text.length - 1 }, (_, i) => [text.slice(0, i + 1), text.slice(i + 1)]),
    )
    .filter((parts) => parts.every((part) => part in vocab))
  const added = pieces.slice(0, 5).map(({ text }, id) => ({ id, content: text, special: true }))
  return {
    added_tokens: added.map((token) => ({ ...token, normalized: false })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '\u2581' },
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true, vocab, merges },
  }
}
