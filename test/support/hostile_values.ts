// What hostile callers pass.
import fc from 'fast-check'

/** What hostile arguments throw themselves: a caller's own errors come back to it as they are. */
export class Hostile extends Error {}
const fail = (): never => {
  throw new Hostile('thrown by an argument')
}

const circular: Record<string, unknown> = {}
circular.self = circular
const itself: object = new Proxy({}, { get: () => itself })
const detached = new Float32Array(4)
structuredClone(detached.buffer, { transfer: [detached.buffer] })

const constants: [string, unknown][] = [
  ...[undefined, null, true, Number.NaN, Number.POSITIVE_INFINITY, -0, -1, 0, 1.5, 7].map(
    (value): [string, unknown] => [Object.is(value, -0) ? '-0' : String(value), value],
  ),
  ...[2 ** 31, 2 ** 32, 2 ** 53, 1e308, -1e308].map((n): [string, number] => [`${n}`, n]),
  ...['', 'x', 'yes', '1', '\0', '\ud800', '__proto__', 'constructor'].map(
    (text): [string, string] => [JSON.stringify(text), text],
  ),
  ['a long text', 'ab '.repeat(5000)],
  ['1n', 1n],
  ['a symbol', Symbol('x')],
  ['a function', () => 1],
  ['a function that throws', fail],
  ['a date that is none', new Date(Number.NaN)],
  ['a map', new Map([[1, 2]])],
  ['a promise', Promise.resolve(1)],
  ['{}', {}],
  ['an object without prototype', Object.create(null)],
  ['a circular object', circular],
  ['an object that holds itself as an array', { data: [circular], shape: [1] }],
  ['an object that holds 1n', { value: 1n }],
  ['a toJSON that gives nothing', { toJSON: () => undefined }],
  ['a toJSON that throws', { toJSON: fail }],
  ['a toString that throws', { toString: fail, [Symbol.toPrimitive]: fail }],
  ['a proxy that throws', new Proxy({}, { get: fail, has: fail, ownKeys: fail })],
  ['a proxy of an array that throws', new Proxy([1], { get: fail })],
  ['a proxy that is all it has', itself],
  ['[]', []],
  ['[undefined]', [undefined]],
  ['[null]', [null]],
  ['["x"]', ['x']],
  ['["bogus", "bogus"]', ['bogus', 'bogus']],
  ['[[[]]]', [[[]]]],
  ['[Symbol()]', [Symbol('x')]],
  ['[-1]', [-1]],
  ['[NaN, 0.5]', [Number.NaN, 0.5]],
  ['[2 ** 31, 2 ** 31]', [2 ** 31, 2 ** 31]],
  ['[2 ** 53]', [2 ** 53]],
  ['an array of holes', new Array(3)],
  ['a long array of holes', new Array(2 ** 16)],
  ['{ length: 2 ** 53 }', { length: 2 ** 53 }],
  ['a tensor of nothing', { data: new Float32Array(0), shape: [0, 2 ** 40] }],
  ['a tensor without dimensions', { data: new Float32Array(1), shape: [] }],
  ['a tensor of doubles', { data: new Float64Array(4), shape: [2, 2] }],
  ['a tensor of bigints', { data: new BigInt64Array(4), shape: [2, 2] }],
  ['a tensor of a view', { data: new DataView(new ArrayBuffer(16)), shape: [2, 2] }],
  ['a tensor whose dtype lies', { data: new Uint8Array(4), shape: [2, 2], dtype: 'f32' }],
  ['a tensor of i32', { data: Int32Array.of(-1, 5, 1e9, 0), shape: [2, 2] }],
  ['a Float32Array', Float32Array.of(Number.NaN, -1)],
  ['an empty Float32Array', new Float32Array(0)],
  ['an Int32Array', Int32Array.of(-1, 2 ** 30)],
  ['a Float64Array', Float64Array.of(0.5)],
  ['a BigInt64Array', BigInt64Array.of(1n)],
  ['a detached Float32Array', detached],
  ['an ArrayBuffer', new ArrayBuffer(8)],
  ['an aborted signal', AbortSignal.abort(new Hostile('aborted'))],
]
export type Named = [name: string, value: unknown]
/** One of these, or nested junk. */
export const hostile: fc.Arbitrary<Named> = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...constants) },
  {
    weight: 1,
    arbitrary: fc
      .anything({ withBigInt: true, withDate: true, withTypedArray: true, withSparseArray: true })
      .map((value): Named => [fc.stringify(value).slice(0, 100), value]),
  },
)
