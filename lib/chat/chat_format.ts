import { badOption, MoeError } from '../errors.ts'
import type { ModelConfig } from '../models/config.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, flagOption } from '../options.ts'
import { readTokenFiles } from '../tokenizer/token_files.ts'
import { CheckedTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts'
import type { Json } from '../weights/json.ts'
import type { CallForm } from './call_forms.ts'
import { type ChatMessage, type ChatTool, copyJson, readMessages, readTools } from './messages.ts'
import type { ChatTemplate, Conversation } from './template.ts'
import { findTemplates, type TemplateSources, yuanTemplate } from './template_source.ts'

/** How a conversation becomes one text. */
export interface TemplateOptions {
  /** Functions that the model may call; only where the template shows them to it. */
  tools?: readonly ChatTool[] | undefined
  /** End the text where an answer begins. Default true. */
  addGenerationPrompt?: boolean | undefined
  /** Leave the last message open, so that the answer continues it. Default false. */
  continueFinalMessage?: boolean | undefined
  /** A Jinja template instead of the checkpoint's. It runs: take it from nobody you do not trust. */
  chatTemplate?: string | undefined
  /** Further variables that the template reads, such as `enable_thinking`. */
  templateVariables?: Readonly<Record<string, unknown>> | undefined
}

/** A conversation as the model reads it. */
export interface ChatPrompt {
  /** What the template gives. */
  text: string
  ids: number[]
}

export interface ChatRequest extends Conversation {
  chatTemplate: string | undefined
}

export const templateOptionNames: OptionNames<TemplateOptions> = {
  tools: true,
  addGenerationPrompt: true,
  continueFinalMessage: true,
  chatTemplate: true,
  templateVariables: true,
}

/** Copies and checks a conversation and how it is to be rendered. */
export function readChat(
  where: string,
  messages: readonly ChatMessage[],
  options: TemplateOptions,
): ChatRequest {
  const { tools, addGenerationPrompt, continueFinalMessage } = options
  const { chatTemplate, templateVariables = {} } = options
  if (chatTemplate !== undefined && typeof chatTemplate !== 'string')
    badOption(where, 'chatTemplate', 'a string', chatTemplate)
  checkOptions(where, templateVariables)
  return {
    messages: readMessages(where, messages),
    tools: readTools(where, tools),
    addGenerationPrompt: flagOption(where, 'addGenerationPrompt', addGenerationPrompt ?? true),
    continueFinalMessage: flagOption(where, 'continueFinalMessage', continueFinalMessage),
    chatTemplate,
    variables: copyJson(where, 'templateVariables', templateVariables) as Json,
  }
}

/** Noncharacters: no text has them but to be hostile. */
const marks = Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i))

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** A checkpoint's chat format: its templates and the tokenizer that reads what they give. */
export class ChatFormat {
  readonly #sources: TemplateSources
  readonly #roles: Json
  readonly #tokenizer: CheckedTokenizer
  /** Any special token, longest first. */
  readonly #special: RegExp | undefined
  readonly #templates = new Map<string, ChatTemplate>()

  constructor(sources: TemplateSources, roles: Json, tokenizer: CheckedTokenizer) {
    this.#sources = sources
    this.#roles = roles
    this.#tokenizer = tokenizer
    const texts = [...tokenizer.specialIds.keys()].filter((text) => text.length > 1)
    texts.sort((a, b) => b.length - a.length)
    if (texts.length > 0) this.#special = new RegExp(texts.map(escaped).join('|'))
  }

  /** @throws {MoeError} ERR_MOE_CHECKPOINT for a damaged template file */
  static open(dir: string, config: ModelConfig, tokenizer: Tokenizer): ChatFormat | undefined {
    if (!(tokenizer instanceof CheckedTokenizer)) return undefined
    const files = readTokenFiles(dir)
    const { standard, tools } = findTemplates(dir, files.config)
    const own = config.architecture === 'yuan' ? yuanTemplate : undefined
    return new ChatFormat({ standard: standard ?? own, tools }, files.roles, tokenizer)
  }

  /**
   * The text and ids of a conversation. What looks like a special token in a message is text to the model; only the
   * template writes special tokens.
   *
   * @throws {MoeError} as ChatTemplate.text; ERR_MOE_UNSUPPORTED where the checkpoint has no template
   */
  async prompt(where: string, request: ChatRequest, signal: AbortSignal): Promise<ChatPrompt> {
    const template = await this.#template(where, request)
    const all = JSON.stringify([request.messages, request.tools])
    const mark = marks.find((one) => !all.includes(one))
    if (mark === undefined)
      return badOption(where, 'messages', 'without noncharacters', 'each of U+FDD0 to U+FDEF')
    const marked = template.text(where, request, (text) => this.#withMarks(text, mark))
    const ids = await CheckedTokenizer.encodeMarked(this.#tokenizer, marked, mark, signal)
    if (ids.length === 0) badOption(where, 'messages', 'at least one token when rendered', marked)
    return { text: marked.replaceAll(mark, ''), ids }
  }

  /** Special tokens that the template puts behind an answer: they end one. */
  async stopIds(where: string, request: ChatRequest): Promise<number[]> {
    const end = (await this.#template(where, request)).turnEnd().trimStart()
    const found = this.#special?.exec(end)
    const id = found?.index === 0 ? this.#tokenizer.specialIds.get(found[0]) : undefined
    const { eosId } = this.#tokenizer
    return [id, eosId].filter((one) => one !== undefined)
  }

  /** How a call stands in an answer. */
  async callForm(where: string): Promise<CallForm | undefined> {
    const form = { chatTemplate: undefined, tools: [{}] }
    return (await this.#template(where, form)).callForm()
  }

  /** Every special token in `text` broken by a mark, also where two overlap. */
  #withMarks(text: string, mark: string): string {
    let out = ''
    let rest = text
    for (let found = this.#special?.exec(rest); found; found = this.#special!.exec(rest)) {
      out += rest.slice(0, found.index + 1) + mark
      rest = rest.slice(found.index + 1)
    }
    return out + rest
  }

  async #template(
    where: string,
    { chatTemplate, tools }: Pick<ChatRequest, 'chatTemplate' | 'tools'>,
  ): Promise<ChatTemplate> {
    const { standard, tools: forTools } = this.#sources
    const given =
      chatTemplate === undefined ? undefined : { label: 'chatTemplate', text: chatTemplate }
    const source = given ?? (tools && forTools ? forTools : standard)
    if (!source)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${where}: checkpoint must have a chat template (chat_template.jinja, or chat_template in ` +
          'tokenizer_config.json), got none; option chatTemplate gives one, and generate needs none',
      )
    const known = this.#templates.get(source.text)
    if (known) return known
    // Only now: most processes do not chat.
    const { ChatTemplate } = await import('./template.ts')
    const template = new ChatTemplate(source, this.#roles)
    if (!given) this.#templates.set(source.text, template)
    return template
  }
}
