import { type Evaluation, evaluate } from '../evaluate.ts'
import { weightsNames } from '../weights/formats.ts'
import { loadWithBar } from './load.ts'
import {
  choice,
  loadOptions,
  modelDir,
  modelHelp,
  modelOptions,
  number,
  type Options,
  parse,
  printJson,
  UsageError,
} from './options.ts'
import { progressBar } from './progress.ts'
import { readTextFile } from './text_file.ts'

export const help = `moe-native eval: how well a model predicts a text

  moe-native eval --model DIR --text FILE
  moe-native eval --model DIR --text FILE --weights int4 --against-weights auto

Prints the loss and perplexity of the text in windows that do not overlap, and
beside another model how far apart their choices are. Both models are in memory
at once.

      --text FILE              UTF-8 text; - reads standard input
      --window N               tokens that are seen at once (default: 2048, or
                               what fits the cache)
      --against DIR            another model of the same vocabulary
      --against-weights TYPE   the other model's matrices; without --against,
                               the same folder
${modelHelp}`

const options: Options = {
  ...modelOptions,
  text: { type: 'string' },
  window: { type: 'string' },
  against: { type: 'string' },
  'against-weights': { type: 'string' },
}

function describeResult({ tokens, window, loss, perplexity, against }: Evaluation): string {
  const lines = [
    `${tokens} tokens in windows of ${window}: loss ${loss.toFixed(4)}, perplexity ${perplexity.toFixed(3)}`,
  ]
  if (against) {
    const change = (100 * (loss / against.loss - 1)).toFixed(2)
    lines.push(
      `against: loss ${against.loss.toFixed(4)}, perplexity ${against.perplexity.toFixed(3)}, change ${change} %`,
      `divergence ${against.divergence.toFixed(5)}, same first choice ${(100 * against.agreement).toFixed(2)} %`,
    )
  }
  return lines.join('\n')
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const file = values.text as string | undefined
  if (!file) throw new UsageError('--text must be given')
  const json = values.json === true
  const window = number(values, 'window', 2)
  const otherWeights = choice(values, 'against-weights', weightsNames)
  if (values.against === '') throw new UsageError("--against must be the path of a folder, got ''")
  const otherDir = (values.against as string | undefined) ?? (otherWeights && modelDir(values))
  const text = await readTextFile('--text', file, signal)
  const asked = { ...loadOptions(values), signal }
  await using model = await loadWithBar(modelDir(values), asked, json)
  await using other = otherDir
    ? await loadWithBar(otherDir, { ...asked, weights: otherWeights ?? 'auto' }, json)
    : undefined
  using bar = progressBar('evaluating', json, process.stderr, (n) => `${n} tokens`)
  const result = await evaluate(model, text, {
    window,
    against: other,
    signal,
    onProgress: ({ doneTokens, totalTokens }) => bar.update(doneTokens, totalTokens),
  })
  if (json) printJson(result)
  else process.stdout.write(`${describeResult(result)}\n`)
}
