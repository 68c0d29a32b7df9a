import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { openTokenizer } from '../../lib/tokenizer/index.ts'
import { readJson } from '../../lib/weights/json.ts'
import { temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { anyConfig } from '../support/tokenizers.ts'

const template = {
  type: 'TemplateProcessing',
  single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  pair: [],
  special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
}
const bytes = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true }

it.each<[string, object, object | null, string]>([
  ['a template says', {}, template, '<s>ab'],
  [
    'a template says, of another class',
    { tokenizer_class: 'PreTrainedTokenizerFast' },
    template,
    '<s>ab',
  ],
  ['none says', {}, bytes, 'ab'],
  [
    'a flag adds',
    { tokenizer_class: 'PreTrainedTokenizerFast', add_bos_token: true },
    bytes,
    '<s>ab',
  ],
  ['a flag and a template say', { add_bos_token: true }, template, '<s>ab'],
  ['a flag adds behind', { add_eos_token: true }, template, '<s>ab</s>'],
  [
    "the Llama class does by itself, as in DeepSeek's files",
    { tokenizer_class: 'LlamaTokenizerFast' },
    bytes,
    '<s>ab',
  ],
  [
    'the Llama class is told',
    { tokenizer_class: 'LlamaTokenizer', add_bos_token: false, add_eos_token: true },
    template,
    'ab</s>',
  ],
])('around a text is what %s', async (_, config, post_processor, text) => {
  const dir = temporaryFolder()
  const json = { ...readJson(fixture('tokenizer/deepseek-v3.json')), post_processor }
  writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify(json))
  const named = { bos_token: '<s>', eos_token: '</s>', ...config }
  writeFileSync(path.join(dir, 'tokenizer_config.json'), JSON.stringify(named))
  const tokenizer = (await openTokenizer(dir, anyConfig))!
  expect(tokenizer.decode(tokenizer.encode('ab'), { special: true })).toBe(text)
  expect(
    tokenizer.decode(tokenizer.encode('ab', { addSpecialTokens: false }), { special: true }),
  ).toBe('ab')
})
