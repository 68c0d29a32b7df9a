import type { ModelConfig } from './config.ts'

/** Tokens that a model's published code adds to its tokenizer: in no file. */
export interface CodeTokens {
  /** Those that are pieces of the model keep their id, the others are numbered behind the last piece. */
  texts: readonly string[]
  /** The one that ends a text. */
  eos: string
}

/** `add_tokens` in the README of Yuan's authors, in its order. */
const yuanTokens: CodeTokens = {
  texts: [
    '<eod>',
    '<sep>',
    '<pad>',
    '<mask>',
    '<predict>',
    '<FIM_SUFFIX>',
    '<FIM_PREFIX>',
    '<FIM_MIDDLE>',
    '<commit_before>',
    '<commit_msg>',
    '<commit_after>',
    '<jupyter_start>',
    '<jupyter_text>',
    '<jupyter_code>',
    '<jupyter_output>',
    '<empty_output>',
  ],
  eos: '<eod>',
}

export const codeTokens = ({
  architecture,
}: Pick<ModelConfig, 'architecture'>): CodeTokens | undefined =>
  architecture === 'yuan' ? yuanTokens : undefined
