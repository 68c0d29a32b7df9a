import { operate } from './jinja_operators.ts'
import { cased } from './jinja_strings.ts'
import {
  contains,
  fail,
  isFloat,
  isInteger,
  Namespace,
  numberOf,
  truth,
  typeName,
  type Value,
} from './jinja_values.ts'

type Test = (value: Value, ...args: Value[]) => boolean

const whole = (value: Value): number => {
  const number = numberOf(value)
  return number ?? fail(`${typeName(value)} is neither odd nor even`)
}
const isSequence: Test = (value) =>
  value === undefined || typeof value === 'string' || Array.isArray(value) || value instanceof Map

/** Tests that are an operator's, and what else they are called. */
const comparisons = {
  '==': ['eq', 'equalto'],
  '!=': ['ne'],
  '<': ['lt', 'lessthan'],
  '<=': ['le'],
  '>': ['gt', 'greaterthan'],
  '>=': ['ge'],
}

/** What stands behind `is`, and what `select` and its kin take. */
export const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['boolean', (value) => typeof value === 'boolean'],
  ['callable', (value) => typeof value === 'function' || value === undefined],
  ['defined', (value) => value !== undefined],
  ['undefined', (value) => value === undefined],
  ['divisibleby', (value, by) => whole(value) % whole(by) === 0],
  ['even', (value) => whole(value) % 2 === 0],
  ['odd', (value) => Math.abs(whole(value) % 2) === 1],
  ['true', (value) => value === true],
  ['false', (value) => value === false],
  ['none', (value) => value === null],
  ['string', (value) => typeof value === 'string'],
  ['number', (value) => numberOf(value) !== undefined],
  ['integer', isInteger],
  ['float', isFloat],
  ['mapping', (value) => value instanceof Map],
  ['sequence', isSequence],
  ['iterable', isSequence],
  ['namespace', (value) => value instanceof Namespace],
  ['lower', (value) => typeof value === 'string' && cased(value, (all) => all.toLowerCase())],
  ['upper', (value) => typeof value === 'string' && cased(value, (all) => all.toUpperCase())],
  ['in', (value, container) => contains(container, value)],
  ['sameas', (value, other) => value === other],
  ...Object.entries(comparisons).flatMap(([operator, names]) =>
    [operator, ...names].map(
      (name) =>
        [name, (value: Value, other: Value) => truth(operate(operator, value, other))] as const,
    ),
  ),
])

export const testOf = (name: string): Test => tests.get(name) ?? fail(`test ${name} is not known`)
