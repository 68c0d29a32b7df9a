import { existsSync } from 'node:fs'
import path from 'node:path'
import { peftEntries } from '../adapters/peft.ts'
import { readPeftConfig } from '../adapters/peft_config.ts'
import { readJson } from '../weights/json.ts'
import { count } from '../weights/weights.ts'
import { elementText, elementTypes, type Facts } from './facts.ts'
import { size } from './progress.ts'

/** Whether a folder has a LoRA adapter and no model. */
export const isAdapter = (dir: string): boolean =>
  existsSync(path.join(dir, 'adapter_config.json')) && !existsSync(path.join(dir, 'config.json'))

/**
 * What the adapter of a folder is; whether its modules are those of a model shows when it is loaded beside one.
 *
 * @throws {MoeError} as readPeftConfig and openSafetensors
 */
export function adapterFacts(dir: string): Facts {
  readPeftConfig(dir)
  const json = readJson(path.join(dir, 'adapter_config.json'))!
  const base = typeof json.base_model_name_or_path === 'string' ? json.base_model_name_or_path : ''
  const entries = peftEntries(dir)
  const halves = [...entries.values()].filter(({ name }) => name.endsWith('.lora_A.weight'))
  const kinds = [...new Set(halves.map(({ name }) => name.split('.').at(-3)!))].sort()
  const ranks = [...new Set(halves.map(({ shape }) => shape[0]!))].sort((a, b) => a - b)
  const parameters = [...entries.values()].reduce((sum, { shape }) => sum + count(shape), 0)
  const bytes = 4 * parameters
  return {
    json: {
      ...{ adapter: 'LoRA', baseModel: base || null, modules: halves.length, kinds, ranks },
      ...{ parameters, bytes, elementTypes: elementTypes(entries) },
    },
    rows: [
      ['adapter', `LoRA of PEFT: ${dir}`],
      ['base model', base || 'not said'],
      ['rank', ranks.join(', ')],
      ['modules', `${halves.length} (${kinds.join(', ')})`],
      ['parameters', parameters.toLocaleString('en')],
      ['elements', elementText(elementTypes(entries))],
      ['memory', `${size(bytes)} beside its base`],
      ['runs by', 'loadAdapter of its base model, --adapter on a command line'],
    ],
  }
}
