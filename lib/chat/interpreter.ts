import {
  Environment,
  Interpreter,
  kept,
  keptList,
  type Node,
  type Program,
  parse,
  tokenize,
  type Variables,
} from './jinja_library.ts'
import {
  capitalize,
  isEqual,
  pythonJson,
  strip,
  stripMethods,
  textOf,
  title,
  type Value,
  weightOf,
} from './python.ts'

export type { Program } from './jinja_library.ts'

/** Thrown by a template's own `raise_exception`. */
export class TemplateRefusal extends Error {}
/** Thrown where a template goes on without end. */
export class TemplateLimit extends Error {}

/** A published template takes some thousand steps for a conversation of some turns, and some milliseconds. */
const maxSteps = 5_000_000
const maxMs = 3_000
/** No context has a text as long. What is done to one between two looks at the clock takes a second at most. */
const maxText = 1 << 24
const maxList = 1 << 16

function checkSize(value: unknown): void {
  if (typeof value === 'string' && value.length > maxText)
    throw new TemplateLimit(`a text of more than ${maxText} characters`)
  if (Array.isArray(value) && value.length > maxList)
    throw new TemplateLimit(`a list of more than ${maxList} items`)
}

/** Lists in lists double as fast as texts do. */
function checkWeight(value: Value): Value {
  if (weightOf(value, maxText) > maxText) throw new TemplateLimit('a list of too many lists')
  return value
}

const shown = (value: Value): string =>
  textOf(value.type === 'StringValue' ? value : checkWeight(value))

/** What Python's filters take for a value that is not there; the library refuses it. */
const emptyFor: Readonly<Record<string, unknown>> = {
  ...{ replace: '', indent: '', length: '' },
  ...{ list: [], first: [], last: [], reverse: [], sort: [], join: [], unique: [], map: [] },
  ...{ selectattr: [], rejectattr: [], select: [], reject: [] },
}

/** Filters of texts, which take any value by what is shown of it. */
const textFilters: Readonly<Record<string, (text: string) => string>> = {
  string: (text) => text,
  trim: (text) => strip(text, undefined, [true, true]),
  upper: (text) => text.toUpperCase(),
  lower: (text) => text.toLowerCase(),
  title,
  capitalize,
}

/** Types that pass a test in Python, and not in the library. */
const alsoPass: Readonly<Record<string, readonly string[]>> = {
  iterable: ['ObjectValue', 'TupleValue'],
  number: ['BooleanValue'],
}

/** What is no expression, so that nothing of it is shown but text. */
const statements = new Set([
  ...['Program', 'If', 'For', 'Set', 'Macro', 'Comment', 'CallStatement', 'FilterStatement'],
])

/** `{% break %}` or `{% continue %}` on its way to its loop. */
interface Jump {
  readonly kind: string
  readonly error: unknown
  /** What the loop's body had given. */
  text: string
}

/** The library's interpreter with an end, as it has none of its own, and with Python's values. */
class LimitedInterpreter extends Interpreter {
  #steps = 0
  readonly #started = performance.now()
  readonly #bodies = new WeakSet<object>()
  #jump: Jump | undefined

  override evaluate(node: Node, variables: Variables): Value {
    if (++this.#steps > maxSteps) throw new TemplateLimit(`more than ${maxSteps} steps`)
    if (performance.now() - this.#started > maxMs)
      throw new TemplateLimit(`more than ${maxMs} ms of work`)
    const value = this.#asPython(node, variables) ?? super.evaluate(node, variables)
    checkSize(value.value)
    return value
  }

  /** What the library does as JavaScript does; undefined: all else. */
  #asPython(node: Node | undefined, variables: Variables): Value | undefined {
    switch (node?.type) {
      case 'BinaryExpression':
        return this.#binary(node, variables)
      case 'CallExpression':
        return this.#strip(node, variables)
      case 'TestExpression': {
        const types = alsoPass[node.test!.value as string]
        if (!types?.includes(this.evaluate(node.operand!, variables).type)) return undefined
        return kept(!node.negate)
      }
      case 'Break':
      case 'Continue':
        try {
          return super.evaluate(node, variables)
        } catch (error) {
          this.#jump = { kind: node.type, error, text: '' }
          throw error
        }
      case 'For': {
        this.#bodies.add(node.body!)
        const { value } = super.evaluate(node, variables)
        const last = this.#jump?.text ?? ''
        this.#jump = undefined
        return kept(`${value}${last}`)
      }
    }
    return undefined
  }

  #binary({ operator, left, right }: Node, variables: Variables): Value | undefined {
    const of = operator!.value
    if (!['==', '!=', '~', 'in', 'not in', '%'].includes(of)) return undefined
    const [a, b] = [this.evaluate(left!, variables), this.evaluate(right!, variables)]
    if (of === '~') return kept(shown(a) + shown(b))
    if (of === '%' && a.type === 'StringValue')
      throw new Error('a text formatted by %, which is not implemented')
    const inList = Array.isArray(b.value) && (of === 'in' || of === 'not in')
    if (!inList && of !== '==' && of !== '!=') return undefined
    for (const value of [a, b]) checkWeight(value)
    const equal = inList ? (b.value as Value[]).some((item) => isEqual(a, item)) : isEqual(a, b)
    return kept(equal === (of === '==' || of === 'in'))
  }

  /** The library strips white space, whatever a template asks for. */
  #strip({ callee, args = [] }: Node, variables: Variables): Value | undefined {
    const sides =
      callee?.type === 'MemberExpression' && !callee.computed
        ? stripMethods[callee.property!.value as string]
        : undefined
    if (!sides || args.length > 1) return undefined
    const text = this.evaluate(callee!.object!, variables)
    const [characters] = args.map((one) => this.evaluate(one, variables))
    if (text.type !== 'StringValue') return undefined
    const given = characters?.type === 'StringValue' ? (characters.value as string) : undefined
    return kept(strip(text.value as string, given, sides))
  }

  /** The text of statements in a row; names that a loop's body sets end with each round. */
  override evaluateBlock(block: readonly Node[], scope: Variables): Value {
    const names = this.#bodies.has(block) ? new Set(scope.variables.keys()) : undefined
    let text = ''
    try {
      for (const node of block) {
        const value = this.evaluate(node, scope)
        if (value.type === 'StringValue') text += value.value
        else if (!statements.has(node.type)) text += shown(value)
      }
    } catch (error) {
      const jump = this.#jump
      if (!jump || error !== jump.error) throw error
      text += jump.text
      if (!names || jump.kind === 'Break') {
        jump.text = text
        throw error
      }
      this.#jump = undefined
    } finally {
      for (const name of names ? [...scope.variables.keys()] : [])
        if (!names!.has(name)) scope.variables.delete(name)
    }
    return kept(text)
  }

  override applyFilter(operand: Value, filter: Node, variables: Variables): Value {
    const name = String(filter.value ?? filter.callee?.value)
    const { args = [] } = filter
    const filtered = Object.hasOwn(textFilters, name) && textFilters[name]!(shown(operand))
    if (typeof filtered === 'string') return kept(filtered)
    if (name === 'default' && operand.type === 'NullValue' && args.length < 2) return operand
    const taken =
      operand.type === 'UndefinedValue' && Object.hasOwn(emptyFor, name)
        ? kept(emptyFor[name])
        : checkWeight(operand)
    if (taken.type === 'ArrayValue' && (name === 'select' || name === 'reject'))
      return this.#selected(taken, name === 'select', args, variables)
    const list = taken.type === 'ArrayValue' && (taken.value as Value[])
    const texts = list && name === 'join' && args.every(({ type }) => !/^Keyword/.test(type))
    const given = texts ? keptList(list.map((item) => kept(textOf(item)))) : taken
    // The first of no items is no value for the library, too.
    const value = super.applyFilter(given, filter, variables) ?? kept(undefined)
    return name === 'tojson' ? kept(pythonJson(value.value as string)) : value
  }

  #selected(list: Value, keeps: boolean, args: readonly Node[], variables: Variables): Value {
    const [test, ...further] = args.map((one) => this.evaluate(one, variables))
    const name = test?.value as string | undefined
    const passes = (item: Value): boolean => {
      if (name === undefined) return isTrue(item)
      if (name === 'in') return isIn(item, further[0])
      if (/^(eq|equalto|==)$/.test(name)) return isEqual(item, further[0]!)
      const tested = variables.tests.get(name)
      if (!tested) throw new Error(`Unknown test: ${name}`)
      return tested(item, ...further)
    }
    return keptList((list.value as Value[]).filter((item) => passes(item) === keeps))
  }
}

const isIn = (item: Value, within: Value | undefined): boolean =>
  Array.isArray(within?.value) && (within.value as Value[]).some((one) => isEqual(one, item))

const isTrue = ({ value }: Value): boolean =>
  Array.isArray(value) ? value.length > 0 : value instanceof Map ? value.size > 0 : !!value

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop]
  const length = Math.max(0, Math.ceil((to - from) / step))
  if (!(length <= maxList)) throw new TemplateLimit(`a range of ${length} numbers`)
  return Array.from({ length }, (_, i) => from + i * step)
}

const english = (options: Intl.DateTimeFormatOptions, date: Date): string =>
  new Intl.DateTimeFormat('en-US', options).format(date)
const twoDigits = (n: number): string => String(n).padStart(2, '0')

/** Python's strftime in the C locale, as the published templates were tried; the library's follows the system's. */
export function strftime(format: string, date: Date): string {
  const parts: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    y: () => twoDigits(date.getFullYear() % 100),
    m: () => twoDigits(date.getMonth() + 1),
    d: () => twoDigits(date.getDate()),
    H: () => twoDigits(date.getHours()),
    M: () => twoDigits(date.getMinutes()),
    S: () => twoDigits(date.getSeconds()),
    a: () => english({ weekday: 'short' }, date),
    A: () => english({ weekday: 'long' }, date),
    b: () => english({ month: 'short' }, date),
    B: () => english({ month: 'long' }, date),
    '%': () => '%',
  }
  return format.replace(/%(.)/g, (whole, letter: string) => parts[letter]?.() ?? whole)
}

/** As transformers sets it up: blocks take their line's end and indentation along. */
export const parseTemplate = (source: string): Program =>
  parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))

/** What a template gives for these variables. */
export function renderTemplate(program: Program, variables: Record<string, unknown>): string {
  const environment = new Environment()
  const globals = {
    ...{ true: true, True: true, false: false, False: false, none: null, None: null },
    raise_exception(message: unknown) {
      throw new TemplateRefusal(String(message))
    },
    range,
    strftime_now: (format: string) => strftime(format, new Date()),
  }
  for (const [name, value] of Object.entries({ ...globals, ...variables }))
    if (name !== 'namespace') environment.set(name, value)
  return String(new LimitedInterpreter(environment).run(program).value)
}
