import { loadWithBar } from './load.ts'
import {
  choice,
  idList,
  loadOptions,
  modelDir,
  modelHelp,
  modelOptions,
  type Options,
  parse,
  printJson,
  UsageError,
} from './options.ts'

export const help = `moe-native forward: one pass over token ids, without sampling

  moe-native forward --ids 1,2,3 --json
  moe-native forward --ids 1,2,3 --ids 4,5 --logits all --routing --json

      --ids 1,2,3      a sequence; several run as one ragged batch
      --logits WHICH   all | last | none (default: last)
      --hidden-states  also each layer's output
      --routing        also each layer's expert choice
${modelHelp}`

const options: Options = {
  ...modelOptions,
  ids: { type: 'string', multiple: true },
  logits: { type: 'string' },
  'hidden-states': { type: 'boolean' },
  routing: { type: 'boolean' },
}

const best = 5

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void process.stdout.write(`${help}\n`)
  if (!values.ids) throw new UsageError('--ids must be given')
  const sequences = (values.ids as string[]).map((text) => idList('ids', text))
  const json = values.json === true
  await using model = await loadWithBar(modelDir(values), { ...loadOptions(values), signal }, json)
  const results = await model.forward(sequences, {
    logits: choice(values, 'logits', ['all', 'last', 'none']),
    hiddenStates: values['hidden-states'] === true,
    routing: values.routing === true,
    checkNumerics: true, // JSON has no NaN
    signal,
  })
  const { vocabSize } = model.config
  if (json)
    return printJson({
      vocabSize,
      results: results.map((result, i) => ({ ids: sequences[i], ...result })),
    })
  for (const [i, { logits }] of results.entries()) {
    const last = Array.from(logits.slice(-vocabSize))
    const top = last
      .map((_, id) => id)
      .sort((a, b) => last[b]! - last[a]!)
      .slice(0, best)
    process.stdout.write(
      `${sequences[i]}: ${top.map((id) => `${id} (${last[id]!.toFixed(3)})`).join(', ')}\n`,
    )
  }
}
