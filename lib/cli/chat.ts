import { createInterface } from 'node:readline'
import type { ChatMessage, ChatOptions, Model } from '../index.ts'
import { Conversation } from './conversation.ts'
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
import { routingLines } from './routing_lines.ts'

export const help = `moe-native chat: a conversation in the terminal

  moe-native chat --model DIR
  moe-native chat --model DIR --system 'Be brief.' --temperature 0.7

Conversation
      --system TEXT           a message before all others
Answers
  -n, --max-new-tokens N      most tokens of an answer (default: what fits)
  -t, --temperature X         0 takes the best token
      --top-k N, --top-p X, --min-p X, --seed N
      --stop TEXT             end an answer before this text; may be repeated
      --adapter DIR           a LoRA adapter for the answers
${modelHelp.slice(0, modelHelp.indexOf('\n\n'))}

Lines are messages, but for commands such as /save FILE; /help lists them.
Ctrl-C ends an answer, and the program where there is none; so does the end of
the input.`

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

/** `/exit`, and what others call it. */
const ends: readonly string[] = ['/exit', '/quit', '/bye']

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
    const { routing } = await generation
    say('\n')
    if (routing) note(routingLines(routing, model.config.topK))
  } catch (error) {
    if (!signal.aborted) {
      messages.pop() // such as one that does not fit any more
      throw error
    }
    say('\n')
  }
  messages.push({ role: 'assistant', content })
}

/** A running answer, which a first Ctrl-C ends; where there is none, and from the second on, it ends the program. */
class Interrupts {
  #running: AbortController | undefined

  start(): AbortSignal {
    this.#running = new AbortController()
    return this.#running.signal
  }

  stop(): void {
    this.#running = undefined
  }

  /** @returns whether there was something to end */
  abort(reason: unknown): boolean {
    if (!this.#running || this.#running.signal.aborted) return false
    this.#running.abort(reason)
    return true
  }
}

export async function run(args: string[], interrupt: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void say(`${help}\n`)
  if (values.json) throw new UsageError('--json is for other commands: a conversation is text')
  const asked: ChatOptions = answerOptions(values)
  const given = adapterDir(values)
  const loading = { ...loadOptions(values), signal: interrupt }
  await using model = await loadWithBar(modelDir(values), loading, false)
  if (given) asked.adapter = (await model.loadAdapter(given.dir, { signal: interrupt })).name
  asked.maxNewTokens ??= model.generationDefaults.maxNewTokens ?? model.maxTokens
  const conversation = new Conversation(model, values.system as string | undefined)
  // Fails now, or not.
  await model.applyChatTemplate([...conversation.messages, { role: 'user', content: 'x' }])

  const interrupts = new Interrupts()
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
  lines.on('SIGINT', () => {
    if (!interrupts.abort(new Error('ended'))) lines.close()
  })
  interrupt.addEventListener('abort', () => {
    interrupts.abort(interrupt.reason)
    lines.close()
  })
  note('/help says what there is beside messages\n')
  lines.prompt()
  let begun = ''
  for await (const line of lines) {
    if (line.endsWith('\\')) {
      begun += `${line.slice(0, -1)}\n`
      continue
    }
    const message = begun + line
    begun = ''
    const text = message.trim()
    if (ends.includes(text)) break
    const { messages } = conversation
    try {
      if (text === '/retry') {
        if (conversation.dropAnswer()) await answer(model, messages, asked, interrupts.start())
        else note('there is nothing to answer yet\n')
      } else if (text === '/routing') note(`routing ${toggleRouting(asked) ? 'on' : 'off'}\n`)
      else if (/^\/\w+( |$)/.test(text)) note(await conversation.command(text))
      else if (text !== '') {
        messages.push({ role: 'user', content: message })
        await answer(model, messages, asked, interrupts.start())
      }
    } catch (error) {
      note(`${error instanceof Error ? error.message : error}\n`)
    }
    interrupts.stop()
    if (interrupt.aborted) break
    lines.prompt()
  }
  lines.close()
}

function toggleRouting(asked: ChatOptions): boolean {
  asked.routing = asked.routing ? undefined : 'new'
  return asked.routing !== undefined
}
