import * as library from '@huggingface/jinja'

/** A parsed template. */
export interface Program {
  readonly body: readonly unknown[]
}
interface Value {
  readonly type: string
  readonly value: unknown
}
/** Its name, or a call of it. */
interface Filter {
  readonly value?: string
  readonly callee?: { readonly value?: string }
}
interface Variables {
  set(name: string, value: unknown): unknown
}
/** What is used of the library; its own declarations do not resolve in ES modules. */
interface Jinja {
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown
  parse(tokens: unknown): Program
  Environment: new () => Variables
  Interpreter: new (
    variables: Variables,
  ) => {
    run(program: Program): Value
    evaluate(statement: unknown, variables: Variables): Value
    applyFilter(operand: Value, filter: Filter, variables: Variables): Value | undefined
  }
}
const { Environment, Interpreter, parse, tokenize } = library as unknown as Jinja

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

/** What Python's filters take for a value that is not there; the library refuses it. */
const emptyFor: Readonly<Record<string, object>> = Object.fromEntries([
  ...['upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'replace', 'indent', 'length'].map(
    (name) => [name, { type: 'StringLiteral', value: '' }] as const,
  ),
  ...[
    'list',
    'first',
    'last',
    'reverse',
    'sort',
    'join',
    'unique',
    'map',
    'selectattr',
    'rejectattr',
  ].map((name) => [name, { type: 'ArrayLiteral', value: [] }] as const),
])

/** A name that no template can give. */
const nothing = { type: 'Identifier', value: '' }

/** The library's interpreter with an end: it has none of its own. */
class LimitedInterpreter extends Interpreter {
  #steps = 0
  readonly #started = performance.now()

  override evaluate(statement: unknown, variables: Variables): Value {
    if (++this.#steps > maxSteps) throw new TemplateLimit(`more than ${maxSteps} steps`)
    if (performance.now() - this.#started > maxMs)
      throw new TemplateLimit(`more than ${maxMs} ms of work`)
    const value = super.evaluate(statement, variables)
    checkSize(value.value)
    return value
  }

  override applyFilter(operand: Value, filter: Filter, variables: Variables): Value {
    const empty =
      operand.type === 'UndefinedValue' && emptyFor[filter.value ?? filter.callee?.value ?? '']
    const taken = empty ? this.evaluate(empty, variables) : operand
    // The first of no items is no value for the library, too.
    return super.applyFilter(taken, filter, variables) ?? this.evaluate(nothing, variables)
  }
}

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
