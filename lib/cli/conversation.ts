import { readFile, writeFile } from 'node:fs/promises'
import type { ChatMessage, Model } from '../index.ts'
import { hasBytes } from './text_file.ts'

const commands = `/reset          forget the conversation, but for the system message
/system [TEXT]  the message before all others, from the next answer on; none without TEXT
/save FILE      write the conversation as JSON
/load FILE      go on with one that was written
/tokens         how much of the context the conversation takes
/routing        say after each answer which experts its tokens chose, or no more
/retry          another answer to the last message; with a temperature, another one
/exit           end
A line that ends with a backslash goes on in the next one.
`

/** Messages that are shown when a conversation is taken up. */
const shownMessages = 4

function isMessages(value: unknown): value is ChatMessage[] {
  const ok = (one: { role?: unknown; content?: unknown } | null) =>
    typeof one === 'object' && typeof one?.role === 'string' && typeof one.content === 'string'
  return Array.isArray(value) && value.every(ok)
}

/** The messages so far, and what changes them beside answers. */
export class Conversation {
  messages: ChatMessage[]
  readonly #model: Model

  constructor(model: Model, system: string | undefined) {
    this.#model = model
    this.messages = system === undefined ? [] : [{ role: 'system', content: system }]
  }

  /**
   * @param line `/name argument`
   * @returns what to say about it
   */
  async command(line: string): Promise<string> {
    const [, name = '', argument = ''] = /^\/(\w+)\s*(.*)$/s.exec(line) ?? []
    switch (name) {
      case 'help':
        return commands
      case 'reset':
      case 'clear':
        this.messages = this.#systemMessages()
        return ''
      case 'system':
        return this.#system(argument)
      case 'tokens':
        return this.#tokens()
      case 'save':
        return argument === '' ? '/save needs the name of a file\n' : this.#save(argument)
      case 'load':
        return argument === '' ? '/load needs the name of a file\n' : this.#load(argument)
    }
    return `there is no /${name}; /help says what there is\n`
  }

  /** Takes the last answer back. @returns whether a message is there to be answered */
  dropAnswer(): boolean {
    if (this.messages.at(-1)?.role === 'assistant') this.messages.pop()
    return this.messages.at(-1)?.role === 'user'
  }

  #systemMessages(): ChatMessage[] {
    return this.messages.slice(0, 1).filter(({ role }) => role === 'system')
  }

  /** Templates may refuse one, or refuse it in this place: what they refuse changes nothing. */
  async #system(text: string): Promise<string> {
    const rest = this.messages.slice(this.#systemMessages().length)
    const changed: ChatMessage[] = text === '' ? rest : [{ role: 'system', content: text }, ...rest]
    await this.#model.applyChatTemplate([...changed, { role: 'user', content: 'x' }])
    this.messages = changed
    return text === '' ? 'no system message\n' : ''
  }

  async #tokens(): Promise<string> {
    const { messages } = this
    const said = messages.some(({ role }) => role !== 'system')
    const { ids } = said
      ? await this.#model.applyChatTemplate(messages, { addGenerationPrompt: false })
      : { ids: [] }
    return `${ids.length} tokens of ${this.#model.maxTokens}, ${messages.length} messages\n`
  }

  async #save(file: string): Promise<string> {
    await writeFile(file, `${JSON.stringify(this.messages, null, 2)}\n`)
    return `wrote ${this.messages.length} messages to ${file}\n`
  }

  async #load(file: string): Promise<string> {
    let messages: unknown
    try {
      messages = hasBytes(file) && JSON.parse(await readFile(file, 'utf8'))
    } catch (error) {
      return `${file}: must be a conversation that /save wrote, got ${(error as Error).message}\n`
    }
    if (!isMessages(messages))
      return `${file}: must be a list of messages with role and content, got something else\n`
    if (messages.length > 0)
      await this.#model.applyChatTemplate(messages, { addGenerationPrompt: false })
    this.messages = messages
    const last = messages.slice(-shownMessages)
    const left = messages.length - last.length
    return [
      ...(left > 0 ? [`… ${left} messages before\n`] : []),
      ...last.map(({ role, content }) => `${role}: ${content}\n`),
    ].join('')
  }
}
