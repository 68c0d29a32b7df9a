import { checkpointDefaults, generationFile } from './engine/checkpoint_defaults.ts'
import type { LoadRequest } from './load_options.ts'
import { ConfigReader, type ModelConfig } from './models/config.ts'
import { openTokenizer, type Tokenizer } from './tokenizer/index.ts'
import type { Checkpoint, CheckpointConfig } from './weights/checkpoint.ts'

/** What the files beside the weights say. */
export async function restOf(
  checkpoint: Checkpoint,
  config: Pick<ModelConfig, 'architecture' | 'eosIds' | 'vocabSize'>,
  { generationDefaults }: LoadRequest,
) {
  const file = generationFile(checkpoint.generationConfig, checkpoint.config)
  const defaults = generationDefaults ? checkpointDefaults(file) : {}
  const tokenizer = await openTokenizer(checkpoint.dir, config)
  const ids = endIds(checkpoint, config, tokenizer)
  return { tokenizer, stopIds: ids, checkpointDefaults: defaults }
}

/** The ids that end a text: of generation_config.json, else of config.json, else of the tokenizer's files. */
export function endIds(
  { generationConfig }: CheckpointConfig,
  { eosIds, vocabSize }: Pick<ModelConfig, 'eosIds' | 'vocabSize'>,
  tokenizer: Tokenizer | undefined,
): number[] {
  const ids = new ConfigReader(generationConfig ?? {}, 'generation_config.json').ids(
    'eos_token_id',
    vocabSize,
  )
  if (ids.length > 0 || eosIds.length > 0) return ids.length > 0 ? ids : eosIds
  const eosId = tokenizer?.eosId
  return eosId !== undefined && eosId < vocabSize ? [eosId] : []
}
