import type { Json } from '../weights/json.ts'

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** JSON types of a schema's values; undefined: any. A number may be an integer. */
function typesOf(schema: Json): Set<unknown> | undefined {
  const { type } = schema
  if (type === undefined) return undefined
  return new Set((Array.isArray(type) ? type : [type]).map((t) => (t === 'integer' ? 'number' : t)))
}

function constantsOf(schema: unknown): string[] | undefined {
  if (!isObject(schema)) return undefined
  if ('const' in schema) return [JSON.stringify(schema.const)]
  return Array.isArray(schema.enum) ? schema.enum.map((one) => JSON.stringify(one)) : undefined
}

const share = <T>(a: Iterable<T>, b: Iterable<T>): boolean => {
  const all = new Set(b)
  return [...a].some((one) => all.has(one))
}

function twoApart(a: unknown, b: unknown): boolean {
  if (!isObject(a) || !isObject(b)) return false
  const [types, others] = [typesOf(a), typesOf(b)]
  if (types && others && !share(types, others)) return true
  const [constants, more] = [constantsOf(a), constantsOf(b)]
  if (constants && more && !share(constants, more)) return true
  // Objects with a member that both must have and that is never the same.
  const { properties: own, required } = a
  const { properties: its, required: needed } = b
  if (!isObject(own) || !isObject(its) || !Array.isArray(required) || !Array.isArray(needed))
    return false
  return required.some((name) => {
    const [x, y] = [constantsOf(own[name]), constantsOf(its[name])]
    return needed.includes(name) && x !== undefined && y !== undefined && !share(x, y)
  })
}

/** Whether no value can be of two of the schemas. */
export const apart = (schemas: readonly unknown[]): boolean =>
  schemas.every((a, i) => schemas.slice(i + 1).every((b) => twoApart(a, b)))
