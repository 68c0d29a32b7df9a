import { createInterface } from 'node:readline'
import type { ChatMessage, ChatOptions, LayerRouting, Model } from '../index.ts'
import { loadWithBar } from './load.ts'
import {
  adapterDir,
  adapterOption,
  loadOptions,
  modelDir,
  modelHelp,
  modelOptions,
  number,
  type Options,
  parse,
  UsageError,
  type Values,
} from './options.ts'

export const help = `moe-native chat: a conversation in the terminal

  moe-native chat --model DIR
  moe-native chat --model DIR --system 'Be brief.' --temperature 0.7

Conversation
      --system TEXT           a message before all others
Answers
  -n, --max-new-tokens N      most tokens of an answer (default: what fits)
  -t, --temperature X         0 takes the best token
      --top-k N, --top-p X, --min-p X, --seed N
      --stop TEXT             end an answer before this text; may be given several times
      --adapter DIR           a LoRA adapter for the answers
${modelHelp.slice(0, modelHelp.indexOf('\n\n'))}

Lines are messages, but for /help, /reset, /routing and /exit. Ctrl-C ends an answer, and the program where there
is none; so does the end of the input.`

const commands = `/reset     forget the conversation
/routing   say after each answer which experts its tokens chose, or no more
/exit      end`

const options: Options = {
  ...modelOptions,
  ...adapterOption,
  system: { type: 'string' },
  'max-new-tokens': { type: 'string', short: 'n' },
  temperature: { type: 'string', short: 't' },
  'top-k': { type: 'string' },
  'top-p': { type: 'string' },
  'min-p': { type: 'string' },
  seed: { type: 'string' },
  stop: { type: 'string', multiple: true },
}

const answerOptions = (values: Values): ChatOptions => ({
  maxNewTokens: number(values, 'max-new-tokens'),
  temperature: number(values, 'temperature'),
  topK: number(values, 'top-k'),
  topP: number(values, 'top-p'),
  minP: number(values, 'min-p'),
  seed: number(values, 'seed'),
  stop: values.stop as string[] | undefined,
})

/** How often an answer's tokens chose each expert of each layer, the most chosen first. */
function routingLines(
  routing: readonly (LayerRouting | undefined)[],
  promptTokens: number,
  topK: number,
): string {
  const lines = routing.flatMap((layer, l) => {
    if (!layer) return []
    const counts = new Map<number, number>()
    for (const id of layer.expertIds.subarray(promptTokens * topK))
      counts.set(id, (counts.get(id) ?? 0) + 1)
    const best = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 8)
    return [`layer ${l}: ${best.map(([id, times]) => `expert ${id} ${times}x`).join(', ')}\n`]
  })
  return lines.join('')
}

const say = (text: string) => void process.stdout.write(text)
const note = (text: string) => void process.stderr.write(text)

/** Answers and adds the turn; one that is ended early stays as far as it came. */
async function answer(
  model: Model,
  messages: ChatMessage[],
  asked: ChatOptions,
  signal: AbortSignal,
): Promise<void> {
  const generation = model.chat(messages, { ...asked, signal })
  let content = ''
  try {
    for await (const { text } of generation) {
      say(text)
      content += text
    }
    const { routing, usage } = await generation
    say('\n')
    if (routing) note(routingLines(routing, usage.promptTokens, model.config.topK))
  } catch (error) {
    if (!signal.aborted) throw error
    say('\n')
  }
  messages.push({ role: 'assistant', content })
}

export async function run(args: string[], interrupt: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void say(`${help}\n`)
  if (values.json) throw new UsageError('--json is for other commands: a conversation is text')
  const asked: ChatOptions = answerOptions(values)
  const system = values.system as string | undefined
  const start: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }]
  const given = adapterDir(values)
  const loading = { ...loadOptions(values), signal: interrupt }
  await using model = await loadWithBar(modelDir(values), loading, false)
  if (given) asked.adapter = (await model.loadAdapter(given.dir, { signal: interrupt })).name
  asked.maxNewTokens ??= model.generationDefaults.maxNewTokens ?? model.maxTokens
  await model.applyChatTemplate([...start, { role: 'user', content: 'x' }]) // fails now, or not

  let messages = [...start]
  let running: AbortController | undefined
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
  const stop = () => {
    if (running) running.abort(new Error('ended'))
    else lines.close()
  }
  lines.on('SIGINT', stop)
  interrupt.addEventListener('abort', () => {
    running?.abort(interrupt.reason)
    lines.close()
  })
  note('/help says what there is beside messages\n')
  lines.prompt()
  for await (const line of lines) {
    const text = line.trim()
    if (text === '/exit') break
    if (text === '/help') note(`${commands}\n`)
    else if (text === '/reset') messages = [...start]
    else if (text === '/routing') asked.routing = !asked.routing
    else if (/^\/\w+$/.test(text)) note(`there is no ${text}; /help says what there is\n`)
    else if (text !== '') {
      running = new AbortController()
      messages.push({ role: 'user', content: line })
      try {
        await answer(model, messages, asked, running.signal)
      } catch (error) {
        messages.pop() // such as one that does not fit any more
        note(`${error instanceof Error ? error.message : error}\n`)
      }
      running = undefined
    }
    if (interrupt.aborted) break
    lines.prompt()
  }
  lines.close()
}
