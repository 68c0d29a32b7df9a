// Mutations that know what they change: bytes, JSON, protobuf. All from one seeded generator.

/** Numbers and choices of a seed (splitmix32). */
export class Random {
  #state

  constructor(seed) {
    this.#state = seed >>> 0
  }

  next() {
    this.#state = (this.#state + 0x9e3779b9) >>> 0
    let z = this.#state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }

  /** 0 to n - 1 */
  below(n) {
    return this.next() % Math.max(n, 1)
  }

  /** Once in `n` times. */
  rarely(n) {
    return this.below(n) === 0
  }

  of(list) {
    return list[this.below(list.length)]
  }
}

const numbers = [0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 4096, 65535, 65536, 2 ** 24]
const wide = [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 48, 2 ** 53 - 1, 2 ** 53]

/** One to four changes of bytes, with pieces of `others` at times. */
export function mutateBytes(random, bytes, others = []) {
  let out = Buffer.from(bytes)
  for (let n = 1 + random.below(4); n > 0; n--) {
    const at = random.below(out.length)
    const length = 1 + random.below(random.rarely(4) ? 256 : 8)
    const other = others.length > 0 ? random.of(others) : out
    const from = random.below(other.length)
    const piece = other.subarray(from, from + length)
    const rest = (end) => out.subarray(end)
    const edits = [
      () => out.length > 0 && out.writeUInt8(out[at] ^ (1 << random.below(8)), at),
      () => out.length > 0 && out.writeUInt8(random.below(256), at),
      () => at + 4 <= out.length && out.writeUInt32LE(random.of(numbers), at),
      () => at + 4 <= out.length && out.writeUInt32LE(0xffffffff - random.below(16), at),
      () => at + 8 <= out.length && out.writeBigUInt64LE(BigInt(random.of(wide)), at),
      () => {
        out = Buffer.concat([out.subarray(0, at), rest(at + length)])
      },
      () => {
        out = Buffer.concat([out.subarray(0, at), piece, rest(at)])
      },
      () => {
        out = Buffer.concat([out.subarray(0, at), piece, rest(at + piece.length)])
      },
      () => {
        if (random.rarely(8)) out = out.subarray(0, at)
      },
    ]
    random.of(edits)()
  }
  return out
}

const deep = (depth) => {
  let value = 1
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { a: value }
  return value
}

/** A value that may stand anywhere in JSON; `words` are texts of the format. */
function oddValue(random, words) {
  return random.of([
    () => random.of(numbers),
    () => random.of(wide),
    () => -random.of([...numbers, ...wide]),
    () => random.of([0.5, -0.5, 1e-308, 5e-324, 1e308, -1e308, 1e-8]),
    () => random.of([null, true, false]),
    () => random.of(['', ' ', '\0', 'NaN', '0', '-1', '1e400', '\ud800', '\ufeff', 'é', '𝄞']),
    () => random.of(words),
    () => random.of(words),
    () => 'x'.repeat(random.of(numbers.slice(0, 12))),
    () => random.of([[], {}, [[]], [0], [null], { '': 0 }]),
    () => ['__proto__', 'constructor', 'toString', 'length', 'then'][random.below(5)],
    () => (random.rarely(16) ? deep(random.of([100, 1000])) : []),
    () => Array.from({ length: random.below(40) }, () => random.of(words)),
  ])()
}

/** Every place of a JSON value: its holder and the key. */
function placesOf(value, places = []) {
  if (typeof value === 'object' && value !== null)
    for (const key of Object.keys(value)) {
      places.push([value, key])
      placesOf(value[key], places)
    }
  return places
}

const setOwn = (holder, key, value) =>
  Object.defineProperty(holder, key, {
    ...{ value, writable: true, enumerable: true, configurable: true },
  })

/** One to three changes of a JSON value's tree; the value itself is left as it is. */
export function mutateJson(random, json, words = []) {
  const root = { root: structuredClone(json) }
  for (let n = 1 + random.below(3); n > 0; n--) {
    const places = placesOf(root)
    const [holder, key] = random.of(places)
    const [, otherKey] = random.of(places)
    const [from, fromKey] = random.of(places)
    const texts = [...words, otherKey]
    if (random.rarely(100)) return oddValue(random, texts)
    random.of([
      () => setOwn(holder, key, oddValue(random, texts)),
      () => setOwn(holder, key, oddValue(random, texts)),
      () =>
        typeof holder[key] === 'number' &&
        setOwn(holder, key, holder[key] + random.of([-1, 1, 0.5])),
      () =>
        Array.isArray(holder)
          ? holder.splice(Number(key), 1)
          : key !== 'root' && delete holder[key],
      () => setOwn(holder, key, structuredClone(from[fromKey])),
      () => !Array.isArray(holder) && setOwn(holder, String(oddValue(random, texts)), holder[key]),
      () => Array.isArray(holder) && holder.push(oddValue(random, texts)),
      () => Array.isArray(holder) && holder.reverse(),
    ])()
  }
  return root.root
}

/** JSON text, at times broken, very deep, or with a key that is there twice. */
export function jsonText(random, value) {
  const text = JSON.stringify(value) ?? ''
  if (random.rarely(500)) {
    const depth = 20_000
    return Buffer.from(text.replace(/[0-9]+/, `${'['.repeat(depth)}1${']'.repeat(depth)}`))
  }
  if (random.rarely(16)) return mutateBytes(random, Buffer.from(text))
  if (random.rarely(16)) {
    const keys = [...text.matchAll(/"[^"\\]*":/g)]
    if (keys.length > 0) {
      const key = random.of(keys)
      return Buffer.from(`${text.slice(0, key.index)}${key[0]}1,${text.slice(key.index)}`)
    }
  }
  return Buffer.from(text)
}

function varint(value) {
  const bytes = []
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0))
    if (rest <= 127n) return bytes
  }
}

/** Fields of a protobuf message: [number, wire type, value]; undefined when it is damaged. */
function fieldsOf(bytes) {
  const fields = []
  let at = 0
  const number = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      value |= BigInt(bytes[at] & 127) << shift
      if (!(bytes[at++] >= 128)) return Number(value)
    }
  }
  while (at < bytes.length) {
    const key = number()
    const wire = key % 8
    const size = { 0: 0, 1: 8, 2: wire === 2 ? number() : 0, 5: 4 }[wire]
    if (size === undefined) return undefined
    const value = wire === 0 ? number() : bytes.subarray(at, at + size)
    at += size
    fields.push([Math.floor(key / 8), wire, value])
  }
  return fields
}

const messageOf = (fields) =>
  Buffer.concat(
    fields.map(([field, wire, value]) => {
      const key = varint(field * 8 + wire)
      if (wire === 0) return Buffer.from([...key, ...varint(value)])
      return Buffer.concat([
        Buffer.from([...key, ...(wire === 2 ? varint(value.length) : [])]),
        value,
      ])
    }),
  )

/** Changes fields of a message, of messages in it (`nested` says which fields are), or bytes. */
export function mutateMessage(random, bytes, nested) {
  const fields = fieldsOf(bytes)
  if (!fields || random.rarely(8)) return mutateBytes(random, bytes)
  for (let n = 1 + random.below(3); n > 0 && fields.length > 0; n--) {
    // Half of the changes go to one of the last fields: the first are thousands of pieces.
    const last = Math.max(0, fields.length - 4)
    const at = random.rarely(2) ? last + random.below(4) : random.below(fields.length)
    const field = fields[Math.min(at, fields.length - 1)]
    const [number, wire, value] = field
    if (wire === 2 && nested[number] && !random.rarely(4)) {
      field[2] = mutateMessage(random, value, nested[number])
      continue
    }
    random.of([
      () => fields.splice(at, 1),
      () => fields.splice(random.below(fields.length), 0, [...field]),
      () => {
        field[0] = 1 + random.below(random.rarely(2) ? 6 : 50)
      },
      () => {
        field[2] =
          wire === 0 ? random.of([...numbers, ...wide, -1, -2]) : mutateBytes(random, value)
      },
      () => {
        if (wire !== 5) return
        field[2] = Buffer.alloc(4)
        field[2].writeFloatLE(random.of([NaN, Infinity, -Infinity, 3e38, -0]), 0)
      },
    ])()
  }
  return messageOf(fields)
}
