import path from 'node:path'
import { MoeError, shown } from '../errors.ts'
import { readBytes } from '../weights/json.ts'

/** A template's text and where it was found. */
export interface TemplateSource {
  label: string
  text: string
}

/** A checkpoint's templates: one for conversations, and where there is one another for those with tools. */
export interface TemplateSources {
  standard: TemplateSource | undefined
  tools: TemplateSource | undefined
}

/** Published ones have some ten thousand. */
const maxUnits = 1 << 20

/**
 * The chat template of a checkpoint folder: of `chat_template.jinja`, beside which named ones have a folder, else of
 * tokenizer_config.json, which has one or a list of named ones.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT where it is no text, or too long for one
 */
export function findTemplates(
  dir: string,
  tokenizerConfig: Record<string, unknown>,
): TemplateSources {
  const file = path.join(dir, 'chat_template.jinja')
  const key = `${path.join(dir, 'tokenizer_config.json')}: chat_template`
  const text = readBytes(file)?.toString('utf8')
  if (text !== undefined) {
    const other = path.join(dir, 'additional_chat_templates', 'tool_use.jinja')
    const forTools = readBytes(other)?.toString('utf8')
    return {
      standard: checked(file, text),
      tools: forTools === undefined ? undefined : checked(other, forTools),
    }
  }
  const { chat_template: value } = tokenizerConfig
  if (value === undefined || value === null) return { standard: undefined, tools: undefined }
  if (!Array.isArray(value)) return { standard: checked(key, value), tools: undefined }
  const named = new Map(value.map((item) => [item?.name, item?.template]))
  const pick = (name: string) =>
    named.has(name) ? checked(`${key} ${name}`, named.get(name)) : undefined
  return { standard: pick('default'), tools: pick('tool_use') }
}

function checked(label: string, text: unknown): TemplateSource {
  if (typeof text === 'string' && text.length <= maxUnits) return { label, text }
  const got = typeof text === 'string' ? `${text.length} characters` : shown(text)
  throw new MoeError(
    'ERR_MOE_CHECKPOINT',
    `${label}: template must be a text of at most ${maxUnits} characters, got ${got}`,
  )
}

/**
 * Yuan's, in no file: turns are joined by `<n>`, and the answer stands behind `<sep>`.
 */
export const yuanTemplate: TemplateSource = {
  label: "Yuan's template",
  text:
    "{%- for message in messages -%}{%- if message.role not in ['user', 'assistant'] -%}" +
    "{{ raise_exception('only the roles user and assistant are known') }}{%- endif -%}" +
    "{{ message.content }}{%- if not loop.last -%}{{ '<n>' }}{%- endif -%}{%- endfor -%}" +
    "{%- if add_generation_prompt -%}{{ '<sep>' }}{%- endif -%}",
}
