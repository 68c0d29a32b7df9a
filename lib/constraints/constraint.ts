import { copyJson } from '../chat/messages.ts'
import { badOption } from '../errors.ts'
import { readList } from '../options.ts'
import { automaton, oneOfTexts } from './automaton.ts'
import { type Regex, readRegex } from './regex.ts'
import { notEnforced, Rules } from './rules.ts'
import { schemaGrammar } from './schema.ts'

/** What a text must be, from its first character to its last: one of these. */
export interface Constraint {
  /** A JSON schema; the text is such a value without spaces. `{ type: 'object' }`: any object. */
  json?: object | undefined
  /** A regular expression of ECMAScript without assertions and references; the whole text matches. */
  regex?: string | undefined
  /** One of these texts. */
  choice?: readonly string[] | undefined
  /** A grammar in GBNF, the notation of llama.cpp and XGrammar; its first rule is `root`. */
  grammar?: string | undefined
}

/** Longer grammars take more than seconds to compile. */
const maxLength = 2 ** 20

const kinds = ['json', 'regex', 'choice', 'grammar'] as const

function plainGrammar(path: string, read: (rules: Rules) => Regex): string {
  const rules = new Rules()
  return rules.text(automaton(rules, path, [{ regex: read(rules), tail: '""' }]))
}

/** The grammar of all texts that match from end to end. */
export const regexGrammar = (path: string, text: string): string =>
  plainGrammar(path, () => readRegex(path, text, false))

/**
 * The grammar of a constraint.
 *
 * @throws {MoeError} ERR_MOE_OPTION; ERR_MOE_UNSUPPORTED with the path of what a schema asks for and is not enforced
 */
export function constraintGrammar(where: string, constraint: unknown): string {
  if (typeof constraint !== 'object' || constraint === null)
    return badOption(where, 'constraint', `an object with one of ${kinds.join(', ')}`, constraint)
  const given = Object.entries(constraint).filter(([, value]) => value !== undefined)
  const [kind, value] = given[0] ?? []
  if (given.length !== 1 || !kinds.some((one) => one === kind))
    badOption(where, 'constraint', `an object with one of ${kinds.join(', ')}`, constraint)
  const name = `constraint.${kind}`
  if (kind === 'json') {
    if (typeof value !== 'object' || value === null) badOption(where, name, 'a JSON schema', value)
    return schemaGrammar(name, copyJson(where, name, value))
  }
  if (kind === 'choice') {
    const bad = (): never => badOption(where, name, 'a list of texts', value)
    const texts = readList(value, (one) => (typeof one === 'string' ? one : bad()), bad)
    if (texts.length === 0) bad()
    return plainGrammar(name, (rules) => oneOfTexts(rules, name, texts))
  }
  if (typeof value !== 'string' || value === '') return badOption(where, name, 'a text', value)
  if (kind === 'regex') return regexGrammar(name, value)
  if (value.length > maxLength)
    notEnforced(name, `a grammar of at most ${maxLength} characters`, value.length)
  return value
}
