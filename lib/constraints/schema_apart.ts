import type { Json } from '../weights/json.ts'

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** JSON types of a schema's values; undefined: any. A number may be an integer. */
function typesOf(schema: Json): Set<unknown> | undefined {
  const { type } = schema
  if (type === undefined) return undefined
  return new Set((Array.isArray(type) ? type : [type]).map((t) => (t === 'integer' ? 'number' : t)))
}

type Constants = ReadonlySet<string>

function constantsOf(schema: unknown): Constants | undefined {
  if (!isObject(schema)) return undefined
  if ('const' in schema) return new Set([JSON.stringify(schema.const)])
  if (!Array.isArray(schema.enum)) return undefined
  return new Set(schema.enum.map((one) => JSON.stringify(one)))
}

/** What tells a schema's values from others. */
interface Signs {
  types: Set<unknown> | undefined
  constants: Constants | undefined
  /** Members that an object must have and that are one of some constants. */
  members: ReadonlyMap<string, Constants>
}

function signsOf(schema: unknown): Signs | undefined {
  if (!isObject(schema)) return undefined
  const { properties, required } = schema
  const members = new Map<string, Constants>()
  if (isObject(properties) && Array.isArray(required))
    for (const name of required) {
      const constants = Object.hasOwn(properties, name) && constantsOf(properties[name])
      if (constants) members.set(name, constants)
    }
  return { types: typesOf(schema), constants: constantsOf(schema), members }
}

/** Whether no value can be of two of the schemas. */
export function apart(schemas: readonly unknown[], spend: (steps: number) => void): boolean {
  const all = schemas.map(signsOf)
  const share = (a: ReadonlySet<unknown>, b: ReadonlySet<unknown>): boolean => {
    spend(a.size)
    for (const one of a) if (b.has(one)) return true
    return false
  }
  const differ = (a: ReadonlySet<unknown> | undefined, b: ReadonlySet<unknown> | undefined) =>
    a !== undefined && b !== undefined && !share(a, b)
  const twoApart = (a: Signs | undefined, b: Signs | undefined): boolean => {
    spend(1)
    if (!a || !b) return false
    if (differ(a.types, b.types) || differ(a.constants, b.constants)) return true
    for (const [name, constants] of a.members)
      if (differ(constants, b.members.get(name))) return true
    return false
  }
  return all.every((a, i) => all.slice(i + 1).every((b) => twoApart(a, b)))
}
