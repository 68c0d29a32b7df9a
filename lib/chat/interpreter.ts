import { applyFilter } from './jinja_filters.ts'
import { globals } from './jinja_globals.ts'
import type { Binary, Call, Named, Node, Program } from './jinja_nodes.ts'
import { member, negate, operate, slice } from './jinja_operators.ts'
import { testOf } from './jinja_tests.ts'
import {
  type Callable,
  checkSize,
  fail,
  float,
  fromJson,
  itemsOf,
  Namespace,
  TemplateLimit,
  Tuple,
  text,
  truth,
  type Value,
} from './jinja_values.ts'

/** A published template takes some thousand steps for a conversation of some turns, and some milliseconds. */
const maxSteps = 5_000_000
const maxMs = 3_000

/** `{% break %}` or `{% continue %}` on its way to its loop. */
class Jump extends Error {
  readonly kind: 'Break' | 'Continue'
  /** What the round had written. */
  text = ''
  constructor(kind: Jump['kind']) {
    super(kind)
    this.kind = kind
  }
}

/** Variables of a block, in front of those around it. */
class Scope {
  readonly #own = new Map<string, Value>()
  readonly #around: Scope | undefined

  constructor(around?: Scope) {
    this.#around = around
  }

  set(name: string, value: Value): void {
    this.#own.set(name, value)
  }

  get(name: string): Value {
    return this.#own.has(name) ? this.#own.get(name) : this.#around?.get(name)
  }
}

const orders = new Set(['<', '<=', '>', '>='])
const constants: ReadonlyMap<string, Value> = new Map(
  Object.entries({ true: true, True: true, false: false, False: false, none: null, None: null }),
)

/** Runs a parsed template as Jinja does in Python, with an end to its work. */
class Interpreter {
  #steps = 0
  readonly #started = performance.now()

  /** The text of statements. */
  write(nodes: readonly Node[], scope: Scope): string {
    let out = ''
    try {
      for (const node of nodes) {
        out += this.#statement(node, scope)
        checkSize(out)
      }
    } catch (error) {
      if (error instanceof Jump) error.text = out + error.text
      throw error
    }
    return out
  }

  #step(): void {
    if (++this.#steps > maxSteps) throw new TemplateLimit(`more than ${maxSteps} steps`)
    if (performance.now() - this.#started > maxMs)
      throw new TemplateLimit(`more than ${maxMs} ms of work`)
  }

  #statement(node: Node, scope: Scope): string {
    this.#step()
    switch (node.type) {
      case 'If':
        return this.write(truth(this.#value(node.test, scope)) ? node.body : node.alternate, scope)
      case 'For':
        return this.#loop(node, scope)
      case 'Break':
      case 'Continue':
        throw new Jump(node.type)
      case 'Comment':
        return ''
      case 'Set': {
        const value = node.value
          ? this.#value(node.value, scope)
          : this.write(node.body, new Scope(scope))
        this.#assign(node.assignee, value, scope)
        return ''
      }
      case 'Macro':
        scope.set(node.name.value, this.#macro(node.name.value, node.args, node.body, scope))
        return ''
      case 'CallStatement': {
        const caller = this.#macro('caller', node.callerArgs ?? [], node.body, scope)
        return text(this.#call(node.call, scope, [['caller', caller]]))
      }
      case 'FilterStatement':
        return text(this.#filter(node.filter, this.write(node.body, new Scope(scope)), scope))
      default:
        return text(this.#value(node, scope))
    }
  }

  #loop(node: Extract<Node, { type: 'For' }>, scope: Scope): string {
    // `for x in xs if test` reads as one expression.
    const [source, test] =
      node.iterable.type === 'SelectExpression'
        ? [node.iterable.lhs, node.iterable.test]
        : [node.iterable, undefined]
    const bound = (item: Value): Scope => {
      const inner = new Scope(scope)
      this.#assign(node.loopvar, item, inner)
      return inner
    }
    const all = itemsOf(this.#value(source, scope))
    const items = test ? all.filter((item) => truth(this.#value(test, bound(item)))) : all
    if (items.length === 0) return this.write(node.defaultBlock, new Scope(scope))
    const loop = new Namespace()
    let out = ''
    let before: Value
    for (const [i, item] of items.entries()) {
      const inner = bound(item)
      const n = items.length
      const changed: Callable = (args) => {
        const now = Tuple.from(args)
        const same = before !== undefined && operate('==', before, now)
        before = now
        return !same
      }
      const cycle: Callable = (args) => args[i % args.length]
      const about: Readonly<Record<string, Value>> = {
        ...{ index: i + 1, index0: i, revindex: n - i, revindex0: n - i - 1, length: n },
        ...{ first: i === 0, last: i === n - 1, previtem: items[i - 1], nextitem: items[i + 1] },
        ...{ depth: 1, depth0: 0, changed, cycle },
      }
      for (const [name, value] of Object.entries(about)) loop.attributes.set(name, value)
      inner.set('loop', loop)
      try {
        out += this.write(node.body, inner)
      } catch (end) {
        if (!(end instanceof Jump)) throw end
        out += end.text
        if (end.kind === 'Break') break
      }
      checkSize(out)
    }
    return out
  }

  #assign(to: Node, value: Value, scope: Scope): void {
    if (to.type === 'Identifier') scope.set(to.value, value)
    else if (to.type === 'TupleLiteral') {
      const parts = itemsOf(value)
      if (parts.length !== to.value.length)
        fail(`${to.value.length} names cannot take ${parts.length} values`)
      for (const [i, one] of to.value.entries()) this.#assign(one, parts[i], scope)
    } else if (to.type === 'MemberExpression') {
      const target = this.#value(to.object, scope)
      if (!(target instanceof Namespace)) fail('attributes of a namespace can be set, no others')
      else target.attributes.set(this.#key(to, scope), value)
    } else fail(`${to.type} cannot be set`)
  }

  #macro(name: string, parameters: Node[], body: Node[], scope: Scope): Callable {
    const source = JSON.stringify(body, (_, item) => (item instanceof Map ? [...item] : item))
    const [takesMore, takesNamed] = ['varargs', 'kwargs'].map((special) =>
      source.includes(`"value":"${special}"`),
    )
    return (args, named) => {
      const inner = new Scope(scope)
      const rest = new Map(named)
      for (const [i, parameter] of parameters.entries()) {
        const [{ value: key }, otherwise] =
          parameter.type === 'KeywordArgumentExpression'
            ? [parameter.key, parameter.value]
            : [parameter as Named, undefined]
        const given = i < args.length || rest.has(key)
        const value = i < args.length ? args[i] : rest.get(key)
        inner.set(key, given ? value : otherwise && this.#value(otherwise, inner))
        if (i >= args.length) rest.delete(key)
      }
      inner.set('caller', rest.get('caller'))
      rest.delete('caller')
      inner.set('varargs', Tuple.from(args.slice(parameters.length)))
      inner.set('kwargs', new Map(rest))
      if (args.length > parameters.length && !takesMore)
        fail(`macro ${name} takes ${parameters.length} arguments`)
      for (const key of takesNamed ? [] : rest.keys()) fail(`macro ${name} takes no ${key}`)
      return this.write(body, inner)
    }
  }

  #arguments(nodes: Node[], scope: Scope): [Value[], Map<string, Value>] {
    const args: Value[] = []
    const named = new Map<string, Value>()
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression')
        named.set(node.key.value, this.#value(node.value, scope))
      else if (node.type === 'SpreadExpression')
        args.push(...itemsOf(this.#value(node.argument, scope)))
      else if (node.type === 'KeywordSpreadExpression') {
        const all = this.#value(node.argument, scope)
        if (!(all instanceof Map)) fail('what stands behind ** must be a dict')
        else for (const [key, value] of all) named.set(text(key), value)
      } else args.push(this.#value(node, scope))
    }
    return [args, named]
  }

  #call({ callee, args: given }: Call, scope: Scope, more: [string, Value][] = []): Value {
    const called = this.#value(callee, scope)
    const [args, named] = this.#arguments(given, scope)
    for (const [key, value] of more) named.set(key, value)
    return typeof called === 'function'
      ? called(args, named)
      : fail(`${nameOf(callee)} must be a function, got something that is not a function`)
  }

  #filter(filter: Named | Call, operand: Value, scope: Scope): Value {
    if (filter.type === 'Identifier') return applyFilter(filter.value, operand, [], new Map())
    return applyFilter(nameOf(filter.callee), operand, ...this.#arguments(filter.args, scope))
  }

  #key({ property, computed }: Extract<Node, { type: 'MemberExpression' }>, scope: Scope): Value {
    return !computed && property.type === 'Identifier'
      ? property.value
      : this.#value(property, scope)
  }

  #binary({ operator: { value: operator }, left, right }: Binary, scope: Scope): Value {
    const a = this.#value(left, scope)
    if (operator === 'and') return truth(a) ? this.#value(right, scope) : a
    if (operator === 'or') return truth(a) ? a : this.#value(right, scope)
    const isOrder = left.type === 'BinaryExpression' && orders.has(left.operator.value)
    if (isOrder && orders.has(operator)) fail('comparisons must not be chained')
    return operate(operator, a, this.#value(right, scope))
  }

  #value(node: Node, scope: Scope): Value {
    this.#step()
    const value = this.#evaluated(node, scope)
    checkSize(value)
    return value
  }

  #evaluated(node: Node, scope: Scope): Value {
    switch (node.type) {
      case 'StringLiteral':
      case 'IntegerLiteral':
        return node.value
      case 'FloatLiteral':
        return float(node.value)
      case 'ArrayLiteral':
        return node.value.map((item) => this.#value(item, scope))
      case 'TupleLiteral':
        return Tuple.from(node.value.map((item) => this.#value(item, scope)))
      case 'ObjectLiteral': {
        const entries = [...node.value]
        return new Map(
          entries.map(([key, item]) => [this.#value(key, scope), this.#value(item, scope)]),
        )
      }
      case 'Identifier':
        return constants.has(node.value) ? constants.get(node.value) : scope.get(node.value)
      case 'CallExpression':
        return this.#call(node, scope)
      case 'MemberExpression': {
        const object = this.#value(node.object, scope)
        const { property, computed } = node
        if (property.type !== 'SliceExpression')
          return member(object, this.#key(node, scope), computed)
        const bounds = [property.start, property.stop, property.step]
        const [start, stop, step] = bounds.map((one) => one && this.#value(one, scope))
        return slice(object, start, stop, step)
      }
      case 'UnaryExpression':
        return negate(node.operator.value, this.#value(node.argument, scope))
      case 'BinaryExpression':
        return this.#binary(node, scope)
      case 'FilterExpression':
        return this.#filter(node.filter, this.#value(node.operand, scope), scope)
      case 'TestExpression':
        return testOf(node.test.value)(this.#value(node.operand, scope)) !== node.negate
      case 'SelectExpression':
        return truth(this.#value(node.test, scope)) ? this.#value(node.lhs, scope) : undefined
      case 'Ternary': {
        const { condition, trueExpr, falseExpr } = node
        return this.#value(truth(this.#value(condition, scope)) ? trueExpr : falseExpr, scope)
      }
      default:
        return fail(`${node.type} is not known`)
    }
  }
}

/** Of what is called, for a message. */
const nameOf = (callee: Node): string =>
  callee.type === 'Identifier'
    ? callee.value
    : callee.type === 'MemberExpression'
      ? nameOf(callee.property)
      : 'what is called'

/** What a template gives for these variables, which are JSON. */
export function renderTemplate(program: Program, variables: Record<string, unknown>): string {
  const scope = new Scope()
  for (const [name, value] of globals) scope.set(name, value)
  for (const [name, value] of Object.entries(variables)) scope.set(name, fromJson(value))
  return new Interpreter().write(program.body, new Scope(scope))
}
