import { dumps } from './jinja_json.ts'
import { operate } from './jinja_operators.ts'
import {
  capitalize,
  indent,
  isText,
  percent,
  replace,
  strip,
  toFloat,
  toInteger,
} from './jinja_strings.ts'
import { testOf } from './jinja_tests.ts'
import {
  characters,
  compare,
  equal,
  Float,
  fail,
  itemsOf,
  numberOf,
  ordered,
  pairsOf,
  subscript,
  text,
  truth,
  typeName,
  type Value,
} from './jinja_values.ts'

type Filter = (value: Value, ...args: Value[]) => Value

/** A filter and what its arguments are called, in their order. */
interface Known {
  names: readonly string[]
  run: Filter
}

const filter = (run: Filter, ...names: string[]): Known => ({ names, run })

/** `a.b.0` of an item. */
const attribute = (value: Value, path: Value): Value =>
  path === null || path === undefined
    ? value
    : text(path)
        .split('.')
        .reduce<Value>(
          (inner, key) =>
            subscript(inner, /^\d+$/.test(key) && Array.isArray(inner) ? Number(key) : key),
          value,
        )

const folded = (value: Value, sensitive: Value): Value =>
  typeof value === 'string' && !truth(sensitive) ? value.toLowerCase() : value

const sorted = (items: Value[], key: (item: Value) => Value, reverse: Value): Value[] =>
  [...items].sort((a, b) => compare(key(a), key(b)) * (truth(reverse) ? -1 : 1))

const best =
  (sign: number): Filter =>
  (value, sensitive, path) => {
    const key = (item: Value) => folded(attribute(item, path), sensitive)
    const items = itemsOf(value)
    return items
      .slice(1)
      .reduce((most, item) => (compare(key(item), key(most)) * sign > 0 ? item : most), items[0])
  }

const sizeOf = (value: Value): number =>
  value instanceof Map || Array.isArray(value) || typeof value === 'string' || value === undefined
    ? itemsOf(value).length
    : fail(`${typeName(value)} has no length`)

const sum: Filter = (value, path, start = 0) =>
  typeof start === 'string'
    ? fail('strings have no sum')
    : itemsOf(value).reduce((all, item) => operate('+', all, attribute(item, path)), start)

const chosen =
  (wanted: boolean, byAttribute: boolean): Filter =>
  (value, ...args) => {
    const [path, name, ...rest] = byAttribute ? args : [null, ...args]
    const passes = (item: Value): boolean => {
      const at = attribute(item, path)
      return name === undefined ? truth(at) : testOf(text(name))(at, ...rest)
    }
    return itemsOf(value).filter((item) => passes(item) === wanted)
  }

const separators = (given: Value, otherwise: string): [string, string] => {
  if (given === null) return [otherwise, ': ']
  const [item, key] = itemsOf(given)
  return [isText(item, 'a separator'), isText(key, 'a separator')]
}

const tojson: Filter = (value, ascii = false, width = null, given = null, sort = false) => {
  const [itemSeparator, keySeparator] = separators(given, width === null ? ', ' : ',')
  return dumps(value, {
    ...{ ensureAscii: truth(ascii), sortKeys: truth(sort), itemSeparator, keySeparator },
    indent:
      width === null ? undefined : typeof width === 'string' ? width : ' '.repeat(numberOf(width)!),
  })
}

const unique: Filter = (value, sensitive, path) => {
  const seen: Value[] = []
  return itemsOf(value).filter((item) => {
    const key = folded(attribute(item, path), sensitive)
    return !seen.some((one) => equal(one, key)) && seen.push(key)
  })
}

const reverse: Filter = (value) =>
  typeof value === 'string' ? characters(value).reverse().join('') : [...itemsOf(value)].reverse()

const items: Filter = (value) =>
  value instanceof Map
    ? pairsOf(value)
    : value === undefined
      ? []
      : fail(`${typeName(value)} has no items`)

const dictsort: Filter = (value, sensitive, by = 'key', backwards = false) => {
  const at = by === 'value' ? 1 : 0
  const key = (pair: Value) => folded(subscript(pair, at), sensitive)
  return sorted(items(value) as Value[], key, backwards)
}

const title = (value: string): string => value.replace(/[^-\s({[<]+/g, capitalize)

const map: Filter = (value, name, ...args) => {
  const { run } = filterOf(text(name))
  return itemsOf(value).map((item) => run(item, ...args))
}

/** The filters of Jinja (jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-filters) that templates use. */
const filters: ReadonlyMap<string, Known> = new Map(
  Object.entries({
    abs: filter((value) => {
      const number = numberOf(value) ?? fail(`${typeName(value)} has no size`)
      return value instanceof Float ? new Float(Math.abs(number)) : Math.abs(number)
    }),
    capitalize: filter((value) => capitalize(text(value))),
    count: filter(sizeOf),
    default: filter(
      (value, otherwise = '', boolean = false) =>
        value === undefined || (truth(boolean) && !truth(value)) ? otherwise : value,
      ...['default_value', 'boolean'],
    ),
    dictsort: filter(dictsort, 'case_sensitive', 'by', 'reverse'),
    first: filter((value) => itemsOf(value)[0]),
    float: filter((value, otherwise = new Float(0)) => toFloat(value, otherwise), 'default'),
    format: filter((value, ...args) => percent(text(value), args)),
    indent: filter(
      (value, width = 4, first = false, blank = false) => indent(text(value), width, first, blank),
      ...['width', 'first', 'blank'],
    ),
    int: filter((value, otherwise = 0) => toInteger(value, otherwise), 'default'),
    items: filter(items),
    join: filter(
      (value, by = '', path) =>
        itemsOf(value)
          .map((item) => text(attribute(item, path)))
          .join(text(by)),
      ...['d', 'attribute'],
    ),
    last: filter((value) => itemsOf(value).at(-1)),
    length: filter(sizeOf),
    list: filter((value) => [...itemsOf(value)]),
    lower: filter((value) => text(value).toLowerCase()),
    max: filter(best(1), 'case_sensitive', 'attribute'),
    min: filter(best(-1), 'case_sensitive', 'attribute'),
    reject: filter(chosen(false, false)),
    rejectattr: filter(chosen(false, true)),
    replace: filter(
      (value, from, to, most = null) =>
        replace(text(value), text(from), text(to), most === null ? -1 : numberOf(most)!),
      ...['old', 'new', 'count'],
    ),
    reverse: filter(reverse),
    safe: filter((value) => text(value)),
    select: filter(chosen(true, false)),
    selectattr: filter(chosen(true, true)),
    sort: filter(
      (value, backwards = false, sensitive = false, path = null) =>
        sorted(itemsOf(value), (item) => folded(attribute(item, path), sensitive), backwards),
      ...['reverse', 'case_sensitive', 'attribute'],
    ),
    string: filter((value) => text(value)),
    sum: filter(sum, 'attribute', 'start'),
    title: filter((value) => title(text(value))),
    tojson: filter(tojson, 'ensure_ascii', 'indent', 'separators', 'sort_keys'),
    trim: filter((value, chars = null) => strip(text(value), chars), 'chars'),
    unique: filter(unique, 'case_sensitive', 'attribute'),
    upper: filter((value) => text(value).toUpperCase()),
  }).flatMap(([name, known]) =>
    name === 'default' ? [[name, known] as const, ['d', known] as const] : [[name, known] as const],
  ),
)

const filterOf = (name: string): Known => filters.get(name) ?? fail(`filter ${name} is not known`)

/** What a filter makes of a value. */
export function applyFilter(
  name: string,
  value: Value,
  args: Value[],
  named: Map<string, Value>,
): Value {
  if (name !== 'map') {
    const { names, run } = filterOf(name)
    return run(value, ...ordered(`filter ${name}`, names, args, named))
  }
  if (!named.has('attribute')) return map(value, ...args)
  const [path, otherwise] = ordered('filter map', ['attribute', 'default'], [], named)
  return itemsOf(value).map((item) => attribute(item, path) ?? otherwise)
}
