import type { Json } from '../weights/json.ts'
import { ConfigReader } from './config.ts'

/**
 * Checks what generations read from generation_config.json, so that a bad number in it is the file's fault when
 * it is loaded and not a caller's later. Sampling values count only with do_sample.
 *
 * @returns ids that end a text
 * @throws {MoeError} ERR_MOE_CHECKPOINT
 */
export function checkGenerationConfig(json: Json, vocabSize: number): number[] {
  const c = new ConfigReader(json, 'generation_config.json')
  c.int('max_new_tokens', 1, { max: 2 ** 31 - 1 })
  c.number('repetition_penalty', 1, 1e-3, 1e3)
  if (c.flag('do_sample', false)) {
    c.number('temperature', 1, 0, 1e4)
    c.int('top_k', 0, { min: 0, max: 2 ** 31 - 1 })
    c.number('top_p', 1, 0, 1)
    c.number('min_p', 0, 0, 1)
  }
  return c.ids('eos_token_id', vocabSize)
}
