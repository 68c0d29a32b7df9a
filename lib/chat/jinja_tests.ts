import {
  compare,
  contains,
  equal,
  fail,
  isFloat,
  isInteger,
  Namespace,
  numberOf,
  typeName,
  type Value,
} from './jinja_values.ts'

type Test = (value: Value, ...args: Value[]) => boolean

const whole = (value: Value): number => {
  const number = numberOf(value)
  return number ?? fail(`${typeName(value)} is neither odd nor even`)
}
const isSame = (value: Value, change: (text: string) => string): boolean =>
  typeof value === 'string' &&
  change(value) === value &&
  value.toLowerCase() !== value.toUpperCase()

const eq: Test = (value, other) => equal(value, other)
const ne: Test = (value, other) => !equal(value, other)
const lt: Test = (value, other) => compare(value, other) < 0
const le: Test = (value, other) => compare(value, other) <= 0
const gt: Test = (value, other) => compare(value, other) > 0
const ge: Test = (value, other) => compare(value, other) >= 0

const isSequence: Test = (value) =>
  value === undefined || typeof value === 'string' || Array.isArray(value) || value instanceof Map

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
  ['lower', (value) => isSame(value, (all) => all.toLowerCase())],
  ['upper', (value) => isSame(value, (all) => all.toUpperCase())],
  ['in', (value, container) => contains(container, value)],
  ['sameas', (value, other) => value === other],
  ...(['eq', 'equalto', '=='] as const).map((name) => [name, eq] as const),
  ...(['ne', '!='] as const).map((name) => [name, ne] as const),
  ...(['lt', 'lessthan', '<'] as const).map((name) => [name, lt] as const),
  ...(['le', '<='] as const).map((name) => [name, le] as const),
  ...(['gt', 'greaterthan', '>'] as const).map((name) => [name, gt] as const),
  ...(['ge', '>='] as const).map((name) => [name, ge] as const),
])

export const testOf = (name: string): Test => tests.get(name) ?? fail(`test ${name} is not known`)
