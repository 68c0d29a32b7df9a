import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { constraintGrammar, regexGrammar } from '../../lib/constraints/constraint.ts'
import { Matchers } from '../../lib/constraints/matchers.ts'
import { schemaGrammar } from '../../lib/constraints/schema.ts'
import { toolGrammar } from '../../lib/constraints/tool_grammar.ts'
import { numbers, walk, walkTokens } from '../support/walk.ts'

const matchers = new Matchers(walkTokens)
afterAll(() => matchers.dispose())

/** Formats are ours to check: each as its standard has it, and dates that exist. */
const exists = (text: string) => !Number.isNaN(Date.parse(text.slice(0, 10)))
const ajv = new Ajv2020({
  strict: false,
  formats: {
    date: (s) => /^\d{4}-\d\d-\d\d$/.test(s) && exists(s),
    time: /^\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/,
    'date-time': (s) => exists(s) && !Number.isNaN(Date.parse(s)),
    uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    ipv4: /^(\d{1,3}\.){3}\d{1,3}$/,
    email: /^\S+@\S+\.\S+$/,
  },
})

/** Texts of a schema: all of them are values of it, without spaces between. */
async function check(schema: object, texts: number, seed: number): Promise<void> {
  const validate = ajv.compile(schema)
  const grammar = schemaGrammar('json', schema)
  const random = numbers(seed)
  let ended = 0
  for (let n = 0; n < texts; n++) {
    const text = await walk(matchers, grammar, random)
    if (text === undefined) continue
    ended++
    const value = JSON.parse(text)
    expect([text, validate(value), validate.errors]).toEqual([text, true, null])
    expect(text.replace(/"(?:[^"\\]|\\.)*"/g, '')).not.toMatch(/\s/)
  }
  expect(ended).toBeGreaterThan(0)
}

const tree = {
  type: 'object',
  properties: { value: { type: 'integer' }, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } },
  required: ['value', 'next'],
}

describe('values of a schema', () => {
  it.each<[string, object]>([
    ['anything', {}],
    [
      'optional members in front, between and behind',
      {
        type: 'object',
        properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 }, d: { const: 4 } },
        required: ['b'],
        additionalProperties: false,
      },
    ],
    [
      'members that begin and end alike',
      {
        type: 'object',
        properties: Object.fromEntries(
          ['ab', 'abc', 'b', 'aab', 'c', 'cab'].map((name) => [
            name,
            { type: 'integer', minimum: -5 },
          ]),
        ),
      },
    ],
    ['a map', { type: 'object', additionalProperties: { type: 'boolean' } }],
    [
      'names and texts that need escapes',
      {
        type: 'object',
        properties: { 'a"\\\n\u0001é': { enum: ['"', '\\', '\n\t', 'é😀', '\u2028'] } },
        required: ['a"\\\n\u0001é'],
      },
    ],
    ['lengths in characters', { type: 'string', minLength: 3, maxLength: 5 }],
    ['a long text', { type: 'string', maxLength: 120 }],
    ['lists', { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 }],
    ['an empty list', { type: 'array', items: false }],
    [
      'places',
      {
        type: 'array',
        prefixItems: [{ type: 'string', maxLength: 3 }, { type: 'number' }],
        items: false,
        minItems: 2,
      },
    ],
    ['bounds', { type: 'integer', minimum: -12, exclusiveMaximum: 1034 }],
    ['bounds below nothing', { type: 'integer', minimum: -2300, maximum: -77 }],
    [
      'bounds of safe integers',
      {
        type: 'integer',
        minimum: Number.MIN_SAFE_INTEGER,
        maximum: Number.MAX_SAFE_INTEGER,
      },
    ],
    ['one number', { type: 'integer', exclusiveMinimum: 9.5, maximum: 10.5 }],
    ['numbers', { type: 'number' }],
    ['several types', { type: ['string', 'null', 'integer'], maxLength: 2, maximum: 5 }],
    ['a part that matches', { type: 'string', pattern: 'a[0-9]+' }],
    ['a whole that matches', { type: 'string', pattern: '^"?(x|yz){2,3}\\\\[^a]$' }],
    ['a recursive one', tree],
    [
      'references',
      {
        $defs: {
          'a/b': { type: 'integer' },
          list: { type: 'array', items: { $ref: '#/$defs/a~1b' } },
        },
        anyOf: [{ $ref: '#/$defs/list' }, { $ref: '#/$defs/a~1b' }],
      },
    ],
    [
      'one of several',
      {
        oneOf: [
          { type: 'object', properties: { kind: { const: 'a' } }, required: ['kind'] },
          {
            type: 'object',
            properties: { kind: { const: 'b' }, n: { type: 'integer' } },
            required: ['kind'],
          },
          { type: 'integer' },
        ],
      },
    ],
    ...['date', 'time', 'date-time', 'uuid', 'ipv4', 'email'].map((format): [string, object] => [
      format,
      { type: 'string', format },
    ]),
  ])('%s', async (_, schema) => check(schema, 25, 7))

  it('of any schema that is enforced', async () => {
    const leaf = fc.oneof(
      fc.record({ type: fc.constantFrom('string', 'integer', 'number', 'boolean', 'null') }),
      fc.record({ enum: fc.array(fc.jsonValue({ maxDepth: 1 }), { minLength: 1, maxLength: 3 }) }),
      fc.tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(3000)).map(([minimum, more]) => ({
        ...{ type: 'integer', minimum },
        maximum: minimum + more,
      })),
      fc.tuple(fc.nat(3), fc.nat(4)).map(([minLength, more]) => ({
        ...{ type: 'string', minLength },
        maxLength: minLength + more,
      })),
      fc
        .constantFrom('^a+b?$', '[x-z]', '^\\w{2}-\\d$')
        .map((pattern) => ({ type: 'string', pattern })),
    )
    const { schema } = fc.letrec((tie) => ({
      schema: fc.oneof(
        { maxDepth: 3, withCrossShrink: true },
        leaf,
        fc.record({ type: fc.constant('array'), items: tie('schema'), maxItems: fc.nat(3) }),
        fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
        fc
          .tuple(
            fc.dictionary(fc.string({ maxLength: 4 }), tie('schema'), {
              maxKeys: 3,
              noNullPrototype: true,
            }),
            fc.nat(7),
          )
          .map(([properties, bits]) => ({
            ...{ type: 'object', properties, additionalProperties: false },
            required: Object.keys(properties).filter((_, i) => (bits >> i) & 1),
          })),
      ),
    }))
    await fc.assert(
      fc.asyncProperty(schema as fc.Arbitrary<object>, fc.nat(), (one, seed) =>
        check(one, 2, seed),
      ),
      { numRuns: 60, seed: 11 },
    )
  })
})

describe('what is not enforced is refused by its path', () => {
  it.each<[object, string]>([
    [{ type: 'string', format: 'uri' }, 'json.format'],
    [{ type: 'number', minimum: 1 }, 'json.minimum'],
    [{ type: 'integer', multipleOf: 2 }, 'json.multipleOf'],
    [{ type: 'array', uniqueItems: true }, 'json.uniqueItems'],
    [{ type: 'array', contains: {} }, 'json.contains'],
    [{ type: 'object', minProperties: 1 }, 'json.minProperties'],
    [{ type: 'object', patternProperties: {} }, 'json.patternProperties'],
    [{ type: 'object', required: ['a'] }, 'json.required'],
    [{ not: {} }, 'json.not'],
    [{ if: {} }, 'json.if'],
    [{ allOf: [{}, {}] }, 'json.allOf'],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, 'json.oneOf'],
    [{ anyOf: [{ type: 'integer' }], minimum: 3 }, 'json.minimum'],
    [{ $ref: '#/$defs/x', $defs: { x: {} }, type: 'object' }, 'json.type'],
    [{ $ref: '#/$defs/x' }, 'json.$ref'],
    [{ $ref: '#' }, 'json.$ref'],
    [{ $ref: 'https://example.org/x' }, 'json.$ref'],
    [{ type: 'string', enum: ['a', 1] }, 'json.enum'],
    [{ type: 'string', pattern: '(?=a)b' }, 'json.pattern'],
    [{ type: 'string', pattern: '(a)\\1' }, 'json.pattern'],
    [{ type: 'string', pattern: '^a|b$' }, 'json.pattern'],
    [{ type: 'string', pattern: 'a', maxLength: 3 }, 'json'],
    [{ type: 'string', maxLength: 5000 }, 'json.maxLength'],
    [{ type: 'integer', minimum: 3, maximum: 2 }, 'json'],
    [{ type: 'integer', minimum: 1e16 }, 'json'],
    [{ type: 'integer', minimum: '3' }, 'json.minimum'],
    [{ type: 'text' }, 'json.type'],
    [
      { properties: { a: { items: { type: 'string', format: 'x' } } } },
      'json.properties.a.items.format',
    ],
    [{ properties: { a: false } }, 'json.properties.a'],
    [{ properties: {}, unknown: 1 }, 'json.unknown'],
  ])('%j', (schema, path) => {
    expect(() => schemaGrammar('json', schema)).toThrow(
      expect.objectContaining({
        code: 'ERR_MOE_UNSUPPORTED',
        message: expect.stringMatching(
          new RegExp(`^generate: ${path.replace(/[$.]/g, '\\$&')} must be `),
        ),
      }),
    )
  })
})

describe('what would hold up JavaScript is refused, and what only looks so is not', () => {
  const range = <T>(n: number, each: (i: number) => T) =>
    Array.from({ length: n }, (_, i) => each(i))
  const members = (n: number) => Object.fromEntries(range(n, (i) => [`member_${i}`, {}]))

  it.each<[string, () => string]>([
    ['lengths that depend on each other', () => regexGrammar('x', '.{0,100}x.{0,100}')],
    ['2^20 states', () => regexGrammar('x', '(a|b)*a(a|b){20}')],
    ['sets of a thousand places', () => regexGrammar('x', 'a?'.repeat(1000) + 'a'.repeat(1000))],
    ['a long expression', () => regexGrammar('x', 'a'.repeat(70_000))],
    ['a long constant', () => schemaGrammar('x', { const: 'a'.repeat(600_000) })],
    ['many constants', () => schemaGrammar('x', { enum: range(200_000, String) })],
    ['pairs', () => schemaGrammar('x', { oneOf: range(1500, (i) => ({ const: i })) })],
    ['many schemas', () => schemaGrammar('x', { anyOf: range(30_000, () => true) })],
    ['members', () => schemaGrammar('x', { type: 'object', properties: members(2000) })],
    ['a long grammar', () => constraintGrammar('x', { grammar: 'a'.repeat(2 ** 21) })],
  ])('%s', (_, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_MOE_UNSUPPORTED' }))
  })

  it('5000 constants, 50 members that may be absent, tools of one name', () => {
    expect(schemaGrammar('x', { enum: range(5000, (i) => `value ${i}`) })).toMatch(/^root ::= /)
    const fifty = { type: 'object', additionalProperties: false, properties: members(50) }
    expect(schemaGrammar('x', fifty)).toMatch(/^root ::= /)
    const tool = (a: string) => ({ name: 'f', path: 'x', parameters: { const: a } })
    const grammar = toolGrammar('x', [tool('one'), tool('two')], 'list', false)
    expect([grammar.includes('one'), grammar.includes('two')]).toEqual([true, true])
  })
})

describe('texts of an expression', () => {
  it.each([
    '[a-c]{2,5}-\\d+x',
    '(?:ab|c)*d?',
    '[^a-z"]{3}',
    'é|[à-ü]x|\\u{1F600}',
    '.{0,3}\\.\\S',
    '\\[\\^\\]-[\\w-]+?',
    'a{0}b{2}',
    '[\\x41-\\x43]{1,}',
  ])('%s', async (text) => {
    const whole = new RegExp(`^(?:${text})$`, 'u')
    const random = numbers(3)
    for (let n = 0; n < 25; n++)
      expect(await walk(matchers, regexGrammar('regex', text), random)).toMatch(whole)
  })
  it.each(['a\\b', '(?<=a)b', '(?<n>a)', '[À-￿]', '\\p{L}', 'a{2000}'])('not %s', (text) => {
    expect(() => regexGrammar('regex', text)).toThrow(
      expect.objectContaining({ code: 'ERR_MOE_UNSUPPORTED' }),
    )
  })
})

describe('threads', () => {
  it('calls of tools, one or some', async () => {
    const parameters = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] }
    const tools = [
      { name: 'f"', parameters, path: 'x' },
      { name: 'g', parameters: undefined, path: 'x' },
    ]
    const random = numbers(5)
    for (let n = 0; n < 10; n++) {
      const text = (await walk(matchers, toolGrammar('x', tools, 'list', true), random)) ?? '[]'
      for (const { name, arguments: given } of JSON.parse(text)) {
        expect(['f"', 'g']).toContain(name)
        expect(typeof given).toBe('object')
      }
      const one = await walk(matchers, toolGrammar('x', tools, 'tags', false), random)
      if (one !== undefined) expect(one).toMatch(/^<tool_call>\n\{.*\}\n<\/tool_call>$/s)
    }
  })

  it('what is no grammar says why, and others go on', async () => {
    const matcher = await matchers.begin('root ::= "a" "b"')
    await expect(matchers.begin('root ::= nothing')).rejects.toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringContaining('"nothing" is not defined'),
    })
    expect((await matcher.accept(97)).mayEnd).toBe(false)
    // What overflows the library's stack leaves its memory broken: everybody goes on in another thread.
    const deep = `root ::= ${'('.repeat(200_000)}"a"${')'.repeat(200_000)}`
    await expect(matchers.begin(deep)).rejects.toMatchObject({ code: 'ERR_MOE_OPTION' })
    await expect(matchers.begin('root ::= nothing')).rejects.toThrow('"nothing" is not defined')
    expect((await matcher.accept(98)).mayEnd).toBe(true)
    matcher.end()
  })
})
