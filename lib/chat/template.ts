import { badOption, MoeError } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import { type CallForm, callFormOf, callFormTold } from './call_forms.ts'
import { renderTemplate } from './interpreter.ts'
import { TemplateRefusal } from './jinja_globals.ts'
import { parseJson } from './jinja_json.ts'
import { type Program, parseTemplate } from './jinja_nodes.ts'
import { mapStrings } from './messages.ts'
import type { TemplateSource } from './template_source.ts'

/** What a template gets. */
export interface Conversation {
  messages: readonly Json[]
  tools: readonly Json[] | undefined
  addGenerationPrompt: boolean
  continueFinalMessage: boolean
  /** Further variables. */
  variables: Json
}

const probe = 'moe_native_probe'
const question = { role: 'user', content: 'x' }
const probeCall = { name: probe, arguments: { [probe]: probe } }
const probeText = { ...probeCall, arguments: JSON.stringify(probeCall.arguments) }
const probeTool = {
  type: 'function',
  function: { name: probe, description: probe, parameters: { type: 'object', properties: {} } },
}

/** One chat template, and what can be learned about it by trying. */
export class ChatTemplate {
  readonly #source: TemplateSource
  readonly #roles: Json
  readonly #program: Program
  #takesObjects: boolean | undefined
  #takesTools: boolean | undefined
  #takesNull: boolean | undefined

  /**
   * @param roles special tokens by role, such as `bos_token`
   * @throws {MoeError} ERR_MOE_CHECKPOINT where the text is no template
   */
  constructor(source: TemplateSource, roles: Json) {
    this.#source = source
    this.#roles = roles
    try {
      this.#program = parseTemplate(source.text)
    } catch (cause) {
      const message = `${source.label}: template must be Jinja, got ${cause}`
      throw new MoeError('ERR_MOE_CHECKPOINT', message, { cause })
    }
  }

  /**
   * The text of a conversation. Calls' arguments go in as objects, or as JSON where the template joins them to text.
   *
   * @param change made to every string of messages and tools, behind the choices that depend on them
   * @throws {MoeError} ERR_MOE_OPTION where the template refuses the messages; ERR_MOE_UNSUPPORTED where it fails,
   *   does not end, or knows no tools and there are some
   */
  text(where: string, conversation: Conversation, change: (text: string) => string): string {
    const { messages, tools, continueFinalMessage } = conversation
    if (tools && !this.takesTools())
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${where}: tools must be absent, since ${this.#source.label} does not show them to the model`,
      )
    const calls = messages.some(({ tool_calls }) => tool_calls !== undefined)
    const read = calls ? messages.map((message) => this.#withArguments(message)) : messages
    const isNull = read.some(({ content }) => content === null) && !this.#asksForNull()
    const wanted = isNull
      ? read.map((one) => (one.content === null ? { ...one, content: '' } : one))
      : read
    const changed = mapStrings({ messages: wanted, tools: tools ?? null }, change) as Json
    const { addGenerationPrompt, variables } = conversation
    const text = this.#guarded(where, () =>
      this.#render({ ...variables, ...changed }, addGenerationPrompt && !continueFinalMessage),
    )
    return continueFinalMessage ? this.#openEnd(where, text, changed) : text
  }

  /** What the template puts behind an answer. */
  turnEnd(): string {
    const answered = { messages: [question, { role: 'assistant', content: probe }], tools: null }
    const text = this.#tried(answered) ?? ''
    const at = text.lastIndexOf(probe)
    return at < 0 ? '' : text.slice(at + probe.length)
  }

  /** How the model writes calls: as the template writes those of earlier turns. */
  callForm(): CallForm | undefined {
    const told = { messages: [question], tools: [probeTool] }
    return callFormOf(this.#anyCall('') ?? '') ?? callFormTold(this.#tried(told) ?? '')
  }

  takesTools(): boolean {
    this.#takesTools ??=
      this.#tried({ messages: [question], tools: [probeTool] })?.includes(probe) ?? true
    return this.#takesTools
  }

  /** Whether arguments of calls show when they are an object. */
  #takesArguments(): boolean {
    if (this.#takesObjects === undefined) {
      const shown = this.#shownCall('', probeCall)
      // The function's name shows, too.
      this.#takesObjects = shown
        ? shown.split(probe).length > 2
        : this.#shownCall('', probeText) === undefined
    }
    return this.#takesObjects
  }

  /** With arguments as the template takes them. */
  #anyCall(content: string | null): string | undefined {
    return this.#shownCall(content, this.#takesArguments() ? probeCall : probeText)
  }

  #shownCall(content: string | null, called: Json): string | undefined {
    const call = { id: 'probe0001', type: 'function', function: called }
    const messages = [question, { role: 'assistant', content, tool_calls: [call] }]
    return this.#tried({ messages, tools: null })
  }

  /** Whether content that is null differs from an empty one but by Python's word for it. */
  #asksForNull(): boolean {
    this.#takesNull ??= (() => {
      const [none, empty] = [null, ''].map((content) => this.#anyCall(content))
      return none !== undefined && none !== empty && !none.includes('None')
    })()
    return this.#takesNull
  }

  #withArguments(message: Json): Json {
    const calls = message.tool_calls as { function: Json }[] | undefined
    if (!calls) return message
    const objects = this.#takesArguments()
    const convert = (given: unknown): unknown => {
      if (typeof given !== 'string') return objects ? given : JSON.stringify(given)
      if (!objects) return given
      try {
        const value = parseJson(given)
        return typeof value === 'object' && value !== null ? value : given
      } catch {
        return given // what a model wrote may be no JSON
      }
    }
    const converted = calls.map((call) => {
      const { function: called } = call
      return { ...call, function: { ...called, arguments: convert(called.arguments) } }
    })
    return { ...message, tool_calls: converted }
  }

  #render(variables: Json, addGenerationPrompt: boolean): string {
    return renderTemplate(this.#program, {
      ...{ documents: null, ...this.#roles, ...variables },
      add_generation_prompt: addGenerationPrompt,
    })
  }

  #tried(variables: Json): string | undefined {
    try {
      return this.#render(variables, false)
    } catch {
      return undefined
    }
  }

  #guarded(where: string, render: () => string): string {
    try {
      return render()
    } catch (cause) {
      const { label } = this.#source
      const got = cause instanceof Error ? cause.message : String(cause)
      if (cause instanceof TemplateRefusal)
        throw new MoeError(
          'ERR_MOE_OPTION',
          `${where}: messages must be what ${label} takes, got its refusal: ${got}`,
          { cause },
        )
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${where}: ${label} must render these messages, got ${got}`,
        { cause },
      )
    }
  }

  /** The text up to the end of the last message's content. */
  #openEnd(where: string, text: string, { messages }: Json): string {
    const { content } = (messages as Json[]).at(-1)!
    for (const end of [String(content), String(content).trimEnd(), String(content).trim()]) {
      const at = end === '' ? -1 : text.lastIndexOf(end)
      if (at >= 0) return text.slice(0, at + end.length)
    }
    return badOption(
      where,
      'messages',
      'such that the template shows the last content, to be continued',
      content,
    )
  }
}
