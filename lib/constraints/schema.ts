import type { Json } from '../weights/json.ts'
import { formats, JsonGrammar, largest } from './json_grammar.ts'
import { notEnforced, Rules } from './rules.ts'
import { apart } from './schema_apart.ts'

const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const
type Type = (typeof types)[number]

/** Keywords that say nothing of values. */
const annotations = [
  ...['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'],
  ...['$schema', '$id', '$comment', '$defs', 'definitions'],
]
/** By the type whose values they change. */
const keywords: Readonly<Record<Type, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: [],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  ...{ boolean: [], null: [] },
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Turns a JSON schema into a grammar of values without spaces. Whatever is not enforced is refused by its path. */
class SchemaReader {
  readonly #root: string
  readonly #schema: unknown
  readonly #json: JsonGrammar
  /** Rules of what references point to. */
  readonly #targets = new Map<string, string>()

  constructor(rules: Rules, root: string, schema: unknown) {
    this.#json = new JsonGrammar(rules)
    this.#root = root
    this.#schema = schema
  }

  grammar(): string {
    return this.#value(this.#root, this.#schema, [])
  }

  /** @param open references that lead here without a character in between */
  #value(path: string, schema: unknown, open: readonly string[]): string {
    this.#json.rules.spend(path, 20)
    if (schema === true) return this.#json.any(path)
    if (!isObject(schema)) return notEnforced(path, 'an object, or true', schema)
    const own = Object.fromEntries(
      Object.entries(schema).filter(([key]) => !annotations.includes(key)),
    )
    for (const key of ['$ref', 'const', 'enum', 'anyOf', 'oneOf', 'allOf'])
      if (key in own) return this.#special(path, key, own, open)
    const names = this.#types(path, own)
    const known = names.flatMap((type) => keywords[type])
    for (const [key, value] of Object.entries(own))
      if (key !== 'type' && !known.includes(key))
        notEnforced(`${path}.${key}`, `absent beside type ${names.join(' or ') || 'any'}`, value)
    if (names.length === 0) return this.#json.any(path)
    const ways = names.map((type) => this.#typed(path, type, own))
    return ways.length === 1 ? ways[0]! : this.#json.rules.rule(path, () => ways.join(' | '))
  }

  #types(path: string, schema: Json): Type[] {
    const given = schema.type ?? this.#guess(schema)
    const all: unknown[] = Array.isArray(given) ? given : given === undefined ? [] : [given]
    return all.map((type) =>
      types.includes(type as Type)
        ? (type as Type)
        : notEnforced(`${path}.type`, `one or some of ${types.join(', ')}`, type),
    )
  }

  /** Keywords of one type alone say which. */
  #guess(schema: Json): Type | undefined {
    const found = (['object', 'array', 'string'] as const).filter((type) =>
      keywords[type].some((key) => key in schema),
    )
    return found.length === 1 ? found[0] : undefined
  }

  #special(path: string, key: string, schema: Json, open: readonly string[]): string {
    const { [key]: value, ...rest } = schema
    const literals = key === 'const' || key === 'enum'
    const { type, ...others } = rest
    const beside = literals ? others : rest
    for (const [name, other] of Object.entries(beside))
      notEnforced(`${path}.${name}`, `absent beside ${key}`, other)
    if (key === '$ref') return this.#reference(`${path}.$ref`, value, open)
    const list: unknown[] = Array.isArray(value) ? value : []
    if (key !== 'const' && list.length === 0) notEnforced(`${path}.${key}`, 'a list of some', value)
    if (literals) return this.#literals(`${path}.${key}`, key === 'const' ? [value] : list, type)
    if (key === 'allOf' && list.length > 1)
      notEnforced(`${path}.allOf`, 'a list of one schema', list.length)
    if (key === 'oneOf' && !apart(list, (steps) => this.#json.rules.spend(path, steps)))
      notEnforced(
        `${path}.oneOf`,
        'a list of schemas of different types or constants, or anyOf',
        value,
      )
    const ways = list.map((one, i) => this.#value(`${path}.${key}[${i}]`, one, open))
    return this.#json.rules.rule(path, () => ways.join(' | '))
  }

  #literals(path: string, values: unknown[], type: unknown): string {
    const all = type === undefined || Array.isArray(type) ? type : [type]
    for (const value of values)
      if (Array.isArray(all) && !all.some((one) => isOfType(value, one)))
        notEnforced(path, `of type ${all.join(' or ')}`, value)
    return this.#json.values(path, values)
  }

  #reference(path: string, ref: unknown, open: readonly string[]): string {
    if (typeof ref !== 'string' || !/^#(\/|$)/.test(ref))
      return notEnforced(path, 'a place in this schema, such as #/$defs/x', ref)
    if (open.includes(ref)) notEnforced(path, 'no way back to itself without a value', ref)
    const known = this.#targets.get(ref)
    if (known !== undefined) return known
    const { rules } = this.#json
    const name = rules.reserve(path)
    this.#targets.set(ref, name)
    const target = this.#target(path, ref)
    const inner = this.#value(ref.replace(/^#/, this.#root).replaceAll('/', '.'), target, [
      ...open,
      ref,
    ])
    rules.define(name, inner)
    return name
  }

  #target(path: string, ref: string): unknown {
    let at = this.#schema
    for (const part of ref.split('/').slice(1)) {
      const key = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~')
      if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key))
        return notEnforced(path, 'a place in this schema', ref)
      at = (at as Json)[key]
    }
    return at
  }

  #typed(path: string, type: Type, schema: Json): string {
    switch (type) {
      case 'object':
        return this.#object(path, schema)
      case 'array':
        return this.#array(path, schema)
      case 'string':
        return this.#string(path, schema)
      case 'number':
        return this.#json.number(path)
      case 'integer':
        return this.#integer(path, schema)
      case 'boolean':
        return '("true" | "false")'
      case 'null':
        return '"null"'
    }
  }

  #object(path: string, schema: Json): string {
    const { properties = {}, required = [], additionalProperties: more } = schema
    if (!isObject(properties)) return notEnforced(`${path}.properties`, 'an object', properties)
    const names = Object.keys(properties)
    const needed = new Set<unknown>(Array.isArray(required) ? required : [])
    const known = (name: unknown) => typeof name === 'string' && Object.hasOwn(properties, name)
    if (!Array.isArray(required) || ![...needed].every(known))
      notEnforced(`${path}.required`, 'a list of names of properties', required)
    if (names.length === 0 && more !== false) {
      const value = this.#value(`${path}.additionalProperties`, more ?? true, [])
      return this.#json.object(path, value)
    }
    if (isObject(more))
      notEnforced(`${path}.additionalProperties`, 'true or false beside properties', more)
    const members = names.map((name) => ({
      name,
      value: this.#value(`${path}.properties.${name}`, properties[name], []),
      needed: needed.has(name),
    }))
    return this.#json.members(path, members)
  }

  #array(path: string, schema: Json): string {
    const { items = true, prefixItems = [] } = schema
    const min = count(`${path}.minItems`, schema.minItems) ?? 0
    const max = count(`${path}.maxItems`, schema.maxItems)
    if (!Array.isArray(prefixItems))
      return notEnforced(`${path}.prefixItems`, 'a list', prefixItems)
    const fixed = prefixItems.length
    if (fixed === 0) {
      if (items === false) return '"[]"'
      const item = max === 0 ? '""' : this.#value(`${path}.items`, items, [])
      return this.#json.array(path, item, min, max)
    }
    if (items !== false || (max ?? fixed) !== fixed || (min !== fixed && min !== 0))
      notEnforced(
        path,
        'items false, minItems and maxItems of their number beside prefixItems',
        schema,
      )
    const all = prefixItems.map((one, i) => this.#value(`${path}.prefixItems[${i}]`, one, []))
    return this.#json.rules.rule(path, () => `"[" ${all.join(' "," ')} "]"`)
  }

  #string(path: string, schema: Json): string {
    const { pattern, format } = schema
    const min = count(`${path}.minLength`, schema.minLength)
    const max = count(`${path}.maxLength`, schema.maxLength)
    const asked = [pattern, format, min ?? max].filter((one) => one !== undefined)
    if (asked.length > 1) notEnforced(path, 'a pattern, a format or a length, not several', schema)
    if (format !== undefined) {
      const expression = Object.hasOwn(formats, String(format))
        ? formats[String(format)]
        : undefined
      if (expression === undefined)
        notEnforced(`${path}.format`, `one of ${Object.keys(formats).join(', ')}`, format)
      return this.#json.matching(`${path}.format`, expression!)
    }
    if (pattern === undefined) return this.#json.string(path, min, max)
    if (typeof pattern !== 'string') notEnforced(`${path}.pattern`, 'a string', pattern)
    return this.#json.matching(`${path}.pattern`, pattern as string)
  }

  #integer(path: string, schema: Json): string {
    const bound = (key: string): number | undefined => {
      const { [key]: value } = schema
      if (value === undefined) return undefined
      return typeof value === 'number' ? value : notEnforced(`${path}.${key}`, 'a number', value)
    }
    const low = [bound('minimum'), above(bound('exclusiveMinimum'))]
    const high = [bound('maximum'), below(bound('exclusiveMaximum'))]
    const min = low.filter((n) => n !== undefined).map(Math.ceil)
    const max = high.filter((n) => n !== undefined).map(Math.floor)
    const [lowest, highest] = [Math.max(...min, -largest), Math.min(...max, largest)]
    return this.#json.integer(path, lowest, highest)
  }
}

const above = (n: number | undefined) => (n === undefined ? undefined : Math.floor(n) + 1)
const below = (n: number | undefined) => (n === undefined ? undefined : Math.ceil(n) - 1)

/** Repetitions are written out. */
const maxCount = 1024

function count(path: string, value: unknown): number | undefined {
  if (value === undefined) return undefined
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount)
    return value as number
  return notEnforced(path, `a whole number of at most ${maxCount}`, value)
}

export function isOfType(value: unknown, type: unknown): boolean {
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'null') return value === null
  return type === 'object' ? isObject(value) : typeof value === type
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

/**
 * The rules of a schema, and the name of the one that begins.
 *
 * @param schema a value of JSON
 * @throws {MoeError} ERR_MOE_UNSUPPORTED with the path of what is not enforced
 */
export const schemaRules = (rules: Rules, path: string, schema: unknown): string =>
  new SchemaReader(rules, path, schema).grammar()

export function schemaGrammar(path: string, schema: unknown): string {
  const rules = new Rules()
  return rules.text(schemaRules(rules, path, schema))
}
