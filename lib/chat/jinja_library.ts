import * as library from '@huggingface/jinja'
import type { Value } from './python.ts'

/** A parsed template. */
export interface Program {
  readonly body: readonly unknown[]
}
/** What is used of a node of a parsed template; which it has depends on its type. */
export interface Node {
  readonly type: string
  readonly value?: unknown
  readonly args?: readonly Node[]
  readonly body?: readonly Node[]
  readonly callee?: Node
  readonly computed?: boolean
  readonly left?: Node
  readonly negate?: boolean
  readonly object?: Node
  readonly operand?: Node
  readonly operator?: { readonly value: string }
  readonly property?: Node
  readonly right?: Node
  readonly test?: Node
}

export interface Variables {
  readonly variables: Map<string, Value>
  readonly tests: ReadonlyMap<string, (...values: Value[]) => boolean>
  /** @returns the value as the library keeps it */
  set(name: string, value: unknown): Value
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
    evaluate(statement: Node, variables: Variables): Value
    evaluateBlock(statements: readonly Node[], variables: Variables): Value
    applyFilter(operand: Value, filter: Node, variables: Variables): Value | undefined
  }
}
export const { Environment, Interpreter, parse, tokenize } = library as unknown as Jinja

/** A value as the library keeps it. */
export const kept = (value: unknown): Value => new Environment().set('value', value)
export const keptList = (items: readonly Value[]): Value =>
  Object.assign(kept([]), { value: items })
