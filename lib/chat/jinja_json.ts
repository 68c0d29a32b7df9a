import { compare, Float, fail, text, typeName, type Value } from './jinja_values.ts'

export interface JsonForm {
  ensureAscii: boolean
  /** Undefined: all on one line. */
  indent: string | undefined
  itemSeparator: string
  keySeparator: string
  sortKeys: boolean
}

const notAscii = /[\x7f-\uffff]/g

/** JSON.stringify also escapes halves of surrogate pairs, of which UTF-8 has none. */
function stringText(value: string, { ensureAscii }: JsonForm): string {
  const json = JSON.stringify(value)
  if (!ensureAscii) return json
  return json.replace(notAscii, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const special: Readonly<Record<string, string>> = {
  nan: 'NaN',
  inf: 'Infinity',
  '-inf': '-Infinity',
}

/** Python's json.dumps. */
export function dumps(value: Value, form: JsonForm, depth = 0): string {
  if (value === null) return 'null'
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number' || value instanceof Float) {
    const digits = text(value)
    return special[digits] ?? digits
  }
  if (typeof value === 'string') return stringText(value, form)
  const { indent, itemSeparator, keySeparator, sortKeys } = form
  const within = (parts: string[], open: string, close: string): string => {
    if (parts.length === 0 || indent === undefined) return open + parts.join(itemSeparator) + close
    const line = `\n${indent.repeat(depth + 1)}`
    return `${open}${line}${parts.join(itemSeparator + line)}\n${indent.repeat(depth)}${close}`
  }
  const inner = (item: Value) => dumps(item, form, depth + 1)
  if (Array.isArray(value)) return within(value.map(inner), '[', ']')
  if (!(value instanceof Map)) return fail(`${typeName(value)} has no JSON`)
  const entries = [...value]
  if (sortKeys) entries.sort(([a], [b]) => compare(a, b))
  const parts = entries.map(([key, item]) => {
    const name = typeof key === 'string' ? key : inner(key)
    return stringText(name, form) + keySeparator + inner(item)
  })
  return within(parts, '{', '}')
}

const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/gis
const mark = '\u0000'

/**
 * JSON.parse, but numbers that JavaScript would change are kept as they are written: `2.0`, and whole numbers of more
 * digits than fit.
 */
export function parseJson(json: string): unknown {
  JSON.parse(json) // refuses what is none
  const kept: Float[] = []
  const marked = json.replace(tokens, (token) => {
    if (token.startsWith('"')) return token
    const value = Number(token)
    const isWhole = /^-?\d+$/.test(token)
    if (isWhole ? Number.isSafeInteger(value) : !Number.isInteger(value)) return token
    kept.push(isWhole ? new Float(value, token) : new Float(value))
    return `{${JSON.stringify(mark)}:${kept.length - 1}}`
  })
  return JSON.parse(marked, (_, value) =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, mark)
      ? kept[value[mark]]
      : value,
  )
}
