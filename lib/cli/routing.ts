import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { MoeError } from '../errors.ts'
import type { Model } from '../index.ts'
import { byteLetters } from '../tokenizer/bytes.ts'
import { CheckedTokenizer } from '../tokenizer/tokenizer.ts'
import { loadWithBar } from './load.ts'
import {
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
import { type PageToken, routingPage } from './routing_page.ts'
import { routingTable } from './routing_table.ts'
import { type RoutingReport, RoutingTally } from './routing_tally.ts'
import { readTextFile } from './text_file.ts'
import { type TokenKind, TokenKinds } from './token_kinds.ts'

export const help = `moe-native routing: which experts the tokens of a text choose

  moe-native routing --text FILE
  moe-native routing --model DIR --text FILE --html routing.html

Load of each layer's experts, how even it is, and how many FFN experts each kind
of token takes.

      --text FILE      UTF-8 text; - reads standard input
      --window N       tokens that are seen at once (default: 2048, or what fits
                       the cache)
      --html OUT       also a page of its own, with the text and heat maps
${modelHelp}`

const options: Options = {
  ...modelOptions,
  text: { type: 'string' },
  window: { type: 'string' },
  html: { type: 'string' },
}

/** Numbers of a piece's router logits. */
const pieceNumbers = 4 << 20
/** Tokens that a page shows. */
const shownTokens = 4000

interface Analysis {
  report: RoutingReport
  shown: PageToken[]
}

/** Each id's bytes as text; '' for special tokens. */
function spelling(tokenizer: CheckedTokenizer): (id: number) => string {
  const letters = CheckedTokenizer.letters(tokenizer)
  const bytes = new Map(byteLetters.map((letter, byte) => [letter, byte]))
  return (id) => Buffer.from([...(letters[id] ?? '')].map((one) => bytes.get(one)!)).toString()
}

async function analyse(
  model: Model,
  text: string,
  asked: number | undefined,
  { quiet, signal }: { quiet: boolean; signal: AbortSignal },
): Promise<Analysis & { window: number }> {
  const { tokenizer } = model
  if (!(tokenizer instanceof CheckedTokenizer))
    throw new MoeError('ERR_MOE_UNSUPPORTED', 'routing: model must have a tokenizer, got none')
  const window = asked ?? Math.min(model.maxTokens, 2048)
  if (window > model.maxTokens)
    throw new UsageError(`--window must be at most ${model.maxTokens}, got ${window}`)
  const ids = await tokenizer.encodeAsync(text, { addSpecialTokens: false, signal })
  if (ids.length === 0) throw new UsageError('--text must be a text of at least one token')
  const [first] = tokenizer.encode('')
  const before = first !== undefined && first === tokenizer.bosId ? [first] : []
  const { layers } = await model.routingStats()
  const tally = new RoutingTally(layers)
  const width = layers.reduce((n, layer) => n + (layer?.kinds.length ?? 0), 0)
  if (width === 0)
    throw new MoeError('ERR_MOE_UNSUPPORTED', 'routing: model must have routers, got none')
  const most = Math.max(1, Math.min(512, Math.floor(pieceNumbers / width)))
  const spelled = spelling(tokenizer)
  const kinds = new TokenKinds()
  const stream = tokenizer.stream(before[0])
  const shown: PageToken[] = []
  using bar = progressBar('routing', quiet, process.stderr, (n) => `${n} tokens`)
  for (let at = 0; at < ids.length; at += window - before.length) {
    const end = Math.min(ids.length, at + window - before.length)
    const sequence = model.sequence()
    try {
      for (let from = at; from < end; from += most) {
        const piece = ids.slice(from, Math.min(end, from + most))
        const { routing } = await sequence.forward(from === at ? [...before, ...piece] : piece, {
          ...{ logits: 'none', routing: true, checkNumerics: true, signal },
        })
        const of: TokenKind[] = piece.map((id) => kinds.next(spelled(id)))
        const { ffn, entropy } = tally.add(routing!, of)
        for (const [t, id] of piece.slice(0, shownTokens - shown.length).entries())
          shown.push({ text: stream.push(id), ffn: ffn[t]!, entropy: entropy[t]! })
        bar.update(from + piece.length, ids.length)
      }
    } finally {
      sequence.dispose()
    }
  }
  return { report: tally.report(), shown, window }
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const file = values.text as string | undefined
  if (!file) throw new UsageError('--text must be given: a file, or - for standard input')
  const window = number(values, 'window', 2)
  const quiet = values.json === true
  const text = await readTextFile('--text', file, signal)
  const dir = modelDir(values)
  await using model = await loadWithBar(dir, { ...loadOptions(values), signal }, quiet)
  const { report, shown, ...read } = await analyse(model, text, window, { quiet, signal })
  const { architecture } = model.config
  const about = { model: path.basename(path.resolve(dir)), architecture, text: file, ...read }
  const out = values.html as string | undefined
  if (out !== undefined) await writePage(out, await routingPage(about, report, shown))
  if (quiet) return printJson({ ...about, ...report })
  process.stdout.write(routingTable(about, report))
  if (out !== undefined) process.stderr.write(`wrote ${out}\n`)
}

async function writePage(file: string, page: string): Promise<void> {
  try {
    await writeFile(file, page)
  } catch (error) {
    throw new UsageError(`--html must be a file that can be written: ${(error as Error).message}`)
  }
}
