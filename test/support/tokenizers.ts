import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describeModel } from '../../lib/models/index.ts'
import { openTokenizer, type Tokenizer } from '../../lib/tokenizer/index.ts'
import { temporaryFolder } from './files.ts'
import { fixture } from './golden.ts'

/** A model configuration: tokenizers ask for little of it. */
export const anyConfig = describeModel({
  model_type: 'mixtral',
  vocab_size: 300,
  hidden_size: 8,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
}).config

/** A folder of this tokenizer file and these files. */
export function tokenizerFolder(file: string, beside: Record<string, unknown> = {}): string {
  const dir = temporaryFolder()
  copyFileSync(file, path.join(dir, `tokenizer${path.extname(file)}`))
  for (const [name, json] of Object.entries(beside))
    writeFileSync(path.join(dir, name), JSON.stringify(json))
  return dir
}

/** Opens a tokenizer file as a folder of its own with these files beside it. */
export const openAlone = async (
  file: string,
  beside: Record<string, unknown> = {},
): Promise<Tokenizer> => (await openTokenizer(tokenizerFolder(file, beside), anyConfig))!

/** Opens the contents of a tokenizer.json. */
export async function openJson(json: object): Promise<Tokenizer> {
  const dir = temporaryFolder()
  writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify(json))
  return (await openTokenizer(dir, anyConfig))!
}

export const noBos = { 'tokenizer_config.json': { add_bos_token: false } }

/** Text (null: ids alone), ids and decoded text, from the original. */
export const originalCases = (name: string): [string | null, number[], string][] =>
  JSON.parse(readFileSync(fixture(`tokenizer/${name}.cases.json`), 'utf8'))
