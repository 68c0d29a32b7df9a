import { loadOptionNames, resolveLoadOptions } from '../load_options.ts'
import { isSeq2Seq, isVision } from '../models/kinds.ts'
import { openCheckpoint, openConfig } from '../weights/checkpoint.ts'
import { weightFile } from '../weights/mistakes.ts'
import { adapterFacts, isAdapter } from './adapter_facts.ts'
import { decoderFacts } from './decoder_facts.ts'
import { elementTypes } from './facts.ts'
import { modelFolder } from './load.ts'
import { loadOptions, modelDir, modelHelp, modelOptions, parse, printJson } from './options.ts'
import { rows } from './rows.ts'
import { seq2seqFacts } from './seq2seq_facts.ts'
import { visionFacts } from './vision_facts.ts'

export const help = `moe-native info: what a checkpoint is, what it needs, and whether it fits here

  moe-native info
  moe-native info --model DIR --json

Reads no weights; a config.json is enough. DIR may be a LoRA adapter's, too.

${modelHelp}`

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, modelOptions)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const options = loadOptions(values)
  resolveLoadOptions('info', options, loadOptionNames)
  const quiet = values.json === true
  const given = modelDir(values)
  if (isAdapter(given)) {
    const facts = adapterFacts(given)
    return quiet
      ? printJson({ dir: given, ...facts.json })
      : void process.stdout.write(rows(facts.rows))
  }
  const dir = await modelFolder('info', given, { quiet, signal })
  const said = openConfig(dir)
  const hasWeights = said.files.some((name) => weightFile.test(name))
  const entries = hasWeights ? openCheckpoint(dir).entries : undefined
  const { config } = said
  const describe = isVision(config) ? visionFacts : isSeq2Seq(config) ? seq2seqFacts : decoderFacts
  const facts = await describe({ said, entries, options })
  if (quiet)
    return printJson({ dir, hasWeights, elementTypes: elementTypes(entries), ...facts.json })
  const checkpoint = hasWeights ? dir : `${dir} (no weights there, only what config.json says)`
  process.stdout.write(rows([['checkpoint', checkpoint], ...facts.rows]))
}
