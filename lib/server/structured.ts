import { copyJson } from '../chat/messages.ts'
import { type Constraint, constraintGrammar } from '../constraints/constraint.ts'
import { schemaGrammar } from '../constraints/schema.ts'
import { badParam, unsupported } from './failure.ts'
import { type Fields, isObject } from './fields.ts'

/** Grammars of a schema and of any object, with errors in the words of the request. */
function schemaConstraint(param: string, schema: unknown): Constraint {
  const value = typeof schema === 'string' ? parsed(param, schema) : schema
  if (!isObject(value)) badParam(param, 'a JSON schema', value)
  return { grammar: schemaGrammar(param, copyJson('request', param, value)) }
}

function parsed(param: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return badParam(param, 'a JSON schema', text)
  }
}

function ofFormat(fields: Fields): Constraint | undefined {
  const format = fields.object('response_format')
  if (!format) return undefined
  const type = format.text('type')
  if (type === 'text') return undefined
  const beside = format.value('schema') // llama.cpp's
  if (type === 'json_object')
    return schemaConstraint('response_format.schema', beside ?? { type: 'object' })
  if (type !== 'json_schema')
    return badParam('response_format.type', "'text', 'json_object' or 'json_schema'", type)
  const schema = format.object('json_schema')?.value('schema') ?? beside
  return schemaConstraint('response_format.json_schema.schema', schema)
}

const kinds = ['json', 'regex', 'choice', 'grammar'] as const

/** llama.cpp's. */
const otherNames: { [kind in (typeof kinds)[number]]?: string } = {
  ...{ json: 'json_schema', grammar: 'grammar' },
}

/** What vLLM's fields ask for: `structured_outputs.regex`, or `guided_regex` of older versions. */
function ofKinds(fields: Fields): Constraint[] {
  const nested = fields.object('structured_outputs')
  if (nested && !nested.names.some((name) => nested.has(name)))
    badParam('structured_outputs', `an object with one of ${kinds.join(', ')}`, {})
  const known: readonly string[] = kinds
  for (const name of nested?.names ?? [])
    if (!known.includes(name) && nested!.has(name))
      unsupported(`structured_outputs.${name}`, `it knows ${kinds.join(', ')}`)
  return kinds.flatMap((kind) => {
    const name = otherNames[kind]
    const places = [
      [`structured_outputs.${kind}`, nested?.value(kind)],
      [`guided_${kind}`, fields.value(`guided_${kind}`)],
      ...(name ? ([[name, fields.value(name)]] as const) : []),
    ] as const
    return places.flatMap(([param, value]): Constraint[] => {
      if (value === undefined) return []
      return [kind === 'json' ? schemaConstraint(param, value) : { [kind]: value }]
    })
  })
}

/** What the answer's text must be; undefined: any text. */
export function readConstraint(fields: Fields): Constraint | undefined {
  const format = ofFormat(fields)
  const all = [...(format ? [format] : []), ...ofKinds(fields)]
  if (all.length > 1)
    unsupported(
      'structured_outputs',
      'an answer can be held to one constraint, and there are several',
    )
  // Made here, and not anew for each choice.
  return all[0] && { grammar: constraintGrammar('generate', all[0]) }
}

/** OpenAI's `logit_bias`: ids as keys. */
export function readBias(fields: Fields): Record<number, number> | undefined {
  const bias = fields.value('logit_bias')
  if (bias === undefined || isObject(bias)) return bias as Record<number, number> | undefined
  return badParam('logit_bias', 'an object of biases by token id', bias)
}
