#!/usr/bin/env node
// Writes lib/ops: a typed function for each op, from the fields that the addon declares and the comments of csrc/ops/*.h.
// Run by `npm run build`; --check writes nothing and fails where a file is another.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const folder = path.join(root, 'lib/ops')

/** The comments of a header: the text above a struct or an enum, and of `Struct.inputs.name` and `Struct.outputs.name`. */
function comments(source) {
  const docs = new Map()
  for (const [, doc, name, body] of source.matchAll(
    /((?:^\/\/\/.*\n)+)enum class (\w+)[^{]*\{([^}]*)\}/gm,
  )) {
    docs.set(name, textOf(doc))
    const values = [...body.matchAll(/\b\w+,? *(?:\/\/ (.*(?:\n {4,}\/\/ .*)*))?/g)]
    docs.set(
      `${name}.values`,
      values.map(([, text]) => text?.replace(/\n *\/\/ /g, ' ')),
    )
  }
  for (const [, doc, struct, body] of source.matchAll(
    /((?:^\/\/\/.*\n)+)struct (\w+) \{\n([\s\S]*?)^\};/gm,
  )) {
    docs.set(struct, textOf(doc))
    const members = new Map(
      [...body.matchAll(/^ {2}[\w:<>]+ (\w+)(?: = [^;]+)?; *\/\/ (.*(?:\n {4,}\/\/ .*)*)/gm)].map(
        ([, member, text]) => [member, text.replace(/\n *\/\/ /g, ' ')],
      ),
    )
    for (const [, role, name, member] of body.matchAll(/(\w+)\(\s*"(\w+)",\s*&\w+::(\w+)\)/g))
      docs.set(`${struct}.${isMade({ role }) ? 'outputs' : 'inputs'}.${name}`, members.get(member))
  }
  return docs
}

/** Without slashes, and with formulas, which are indented, as blocks of code. */
const textOf = (doc) =>
  doc
    .replace(/^\/\/\/ ?/gm, '')
    .trimEnd()
    .replace(/(?:^ {2,}\S.*\n?)+/gm, (lines) => `\`\`\`text\n${dedented(lines)}\n\`\`\`\n`)
    .trimEnd()
const dedented = (lines) => lines.trimEnd().replace(/^ {2}/gm, '')
const firstParagraph = (doc) => doc.split('\n\n')[0]

const isMade = ({ role }) => role === 'output' || role === 'extra'
const indented = (text, margin) =>
  text.includes('\n')
    ? [
        `${margin}/**`,
        ...text.split('\n').map((line) => `${margin} * ${line}`.trimEnd()),
        `${margin} */`,
      ]
    : [`${margin}/** ${text} */`]

const stemOf = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const structOf = (name) => `${name[0].toUpperCase()}${name.slice(1)}`

/** The file of an op. */
function opFile({ name, fields }, enums, docs) {
  const source = `csrc/ops/${stemOf(name)}.h`
  const struct = structOf(name)
  const member = (field) => {
    const text = docs.get(`${struct}.${isMade(field) ? 'outputs' : 'inputs'}.${field.name}`)
    const optional = ['optional', 'optionalUpdate', 'setting', 'extra'].includes(field.role)
    return [
      ...(text ? [`  /** ${text} */`] : []),
      `  ${field.name}${optional ? '?' : ''}: ${field.type}${optional ? ' | undefined' : ''}`,
    ]
  }
  const types = new Set(fields.map(({ type }) => type.replace(/^readonly |\[\]$/g, '')))
  const handles = ['DType', 'Plan', 'Tensor', 'Weight'].filter(
    (type) => type === 'Plan' || types.has(type),
  )
  const names = Object.keys(enums).filter((type) => types.has(type) && type !== 'DType')
  const made = fields.filter(isMade)
  const result = made.length > 0 ? `${struct}Outputs` : 'void'
  return [
    `// Made of ${source} by scripts/generate_ops.mjs.`,
    '',
    `import type { ${handles.join(', ')} } from '../native.ts'`,
    ...(names.length > 0 ? [`import type { ${names.join(', ')} } from './names.ts'`] : []),
    '',
    ...indented(`Fields of the op \`${name}\`.\n\n${docs.get(struct)}`, ''),
    `export interface ${struct}Inputs {`,
    ...fields.filter((field) => !isMade(field)).flatMap(member),
    '}',
    '',
    ...(made.length > 0
      ? [
          `/** What the op \`${name}\` makes. */`,
          `export interface ${struct}Outputs {`,
          ...made.flatMap(member),
          '}',
          '',
        ]
      : []),
    ...indented(firstParagraph(docs.get(struct)), ''),
    `export function ${name}(plan: Plan, inputs: ${struct}Inputs): ${result} {`,
    made.length > 0
      ? `  return plan.record('${name}', inputs) as ${result}`
      : `  plan.record('${name}', inputs)`,
    '}',
    '',
  ].join('\n')
}

/** What values of fields may be called. */
function namesFile(enums, blockTokens, docs) {
  const lines = [
    '// Made of csrc/ops/*.h by scripts/generate_ops.mjs.',
    '',
    '/** Tokens of one block of the key/value cache. */',
    `export const blockTokens = ${blockTokens}`,
  ]
  for (const [type, names] of Object.entries(enums)) {
    if (type === 'DType') continue // of every tensor: lib/native.ts
    const list = `${type[0].toLowerCase()}${type.slice(1)}Names`
    const quoted = names.map((name) => `'${name}'`)
    const values = names.flatMap((name, i) => {
      const text = docs.get(`${type}.values`)[i]
      return text ? [`- \`${name}\`: ${text}`] : []
    })
    const doc = [docs.get(type), ...(values.length > 0 ? ['', ...values] : [])].join('\n')
    lines.push('', ...indented(doc, ''), `export type ${type} = ${quoted.join(' | ')}`)
    lines.push(`export const ${list}: readonly ${type}[] = [${quoted.join(', ')}]`)
  }
  return `${lines.join('\n')}\n`
}

/** Every op by name, and which of its fields are weights. */
function indexFile(ops, docs) {
  const weights = ({ fields }) =>
    fields.filter(({ type }) => /Weight\b/.test(type)).map((field) => `'${field.name}'`)
  return [
    '// Made of csrc/ops/*.h by scripts/generate_ops.mjs.',
    '',
    ...ops.map(({ name }) => `import { ${name} } from './${stemOf(name)}.ts'`),
    '',
    ...[...ops.map(({ name }) => stemOf(name)), 'names'].map(
      (stem) => `export * from './${stem}.ts'`,
    ),
    '',
    'export const all = {',
    ...ops.flatMap(({ name }) => [
      ...indented(firstParagraph(docs.get(structOf(name))), '  '),
      `  ${name},`,
    ]),
    '}',
    '',
    'export const weightFields: { readonly [op: string]: readonly string[] } = {',
    ...ops
      .filter((op) => weights(op).length > 0)
      .map((op) => `  ${op.name}: [${weights(op).join(', ')}],`),
    '}',
    '',
  ].join('\n')
}

/** The types of public ops, for the API reference. */
function typesFile(ops, enums) {
  const isPublic = (name) => !/^probe/i.test(name) // of the benchmarks
  const of = ({ name, fields }) =>
    ['Inputs', ...(fields.some(isMade) ? ['Outputs'] : [])].map((end) => structOf(name) + end)
  return [
    '// Made of csrc/ops/*.h by scripts/generate_ops.mjs.',
    '',
    ...ops
      .filter(({ name }) => isPublic(name))
      .map((op) => `export type { ${of(op).join(', ')} } from './${stemOf(op.name)}.ts'`),
    `export type { ${Object.keys(enums)
      .filter((type) => type !== 'DType' && isPublic(type))
      .join(', ')} } from './names.ts'`,
    '',
  ].join('\n')
}

function files() {
  const { ops, enums, blockTokens } = createRequire(import.meta.url)('node-gyp-build')(
    root,
  ).describeOps()
  const headers = readdirSync(path.join(root, 'csrc/ops')).filter((name) => name.endsWith('.h'))
  const docs = comments(
    headers.map((name) => readFileSync(path.join(root, 'csrc/ops', name), 'utf8')).join('\n'),
  )
  return new Map([
    ...ops.map((op) => [`${stemOf(op.name)}.ts`, opFile(op, enums, docs)]),
    ['names.ts', namesFile(enums, blockTokens, docs)],
    ['index.ts', indexFile(ops, docs)],
    ['types.ts', typesFile(ops, enums)],
  ])
}

const wanted = files()
mkdirSync(folder, { recursive: true })
const there = readdirSync(folder)
const wrong = [
  ...there.filter((name) => !wanted.has(name)),
  ...[...wanted].flatMap(([name, text]) => {
    const file = path.join(folder, name)
    return existsSync(file) && readFileSync(file, 'utf8') === text ? [] : [name]
  }),
]
if (process.argv.includes('--check')) {
  if (wrong.length === 0) process.exit(0)
  console.error(`lib/ops is not what csrc/ops/*.h says (${wrong.join(', ')}): npm run build`)
  process.exit(1)
}
for (const name of wrong)
  if (wanted.has(name)) writeFileSync(path.join(folder, name), wanted.get(name))
  else rmSync(path.join(folder, name))
