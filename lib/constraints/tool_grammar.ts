import { copyJson } from '../chat/messages.ts'
import { automaton, textRegex, type Way } from './automaton.ts'
import { literal, Rules } from './rules.ts'
import { schemaRules } from './schema.ts'

/** A function that may be called, and where its schema stands in the request. */
export interface CallableTool {
  name: string
  parameters: unknown
  path: string
}

/**
 * A text that is one call, or some: in tags as Hermes and Qwen write them, or as a list of JSON.
 *
 * @throws {MoeError} as schemaRules
 */
export function toolGrammar(
  where: string,
  tools: readonly CallableTool[],
  form: 'tags' | 'list',
  several: boolean,
): string {
  const rules = new Rules()
  const ways = tools.map(({ name, parameters, path }): Way => {
    const schema = copyJson(where, path, parameters ?? { type: 'object' })
    const regex = textRegex(`{"name": ${JSON.stringify(name)}, "arguments": `)
    return { regex, tail: `${schemaRules(rules, path, schema)} "}"` }
  })
  const call = automaton(rules, 'tools', ways)
  const [open, between, close] =
    form === 'tags'
      ? ['<tool_call>\n', '\n</tool_call>\n<tool_call>\n', '\n</tool_call>']
      : ['[', ', ', ']']
  const options = {
    min: 1,
    max: several ? undefined : 1,
    between: literal(between),
    end: literal(close),
  }
  return rules.text(`${literal(open)} ${rules.repeat('tools', [call], options)}`)
}
