#!/usr/bin/env node
// Writes lib/ops/generated.ts: a typed function for each op, from the fields that the addon declares and the comments of
// csrc/ops/*.h. Run by `npm run build`; --check writes nothing and fails when the file is another.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const file = path.join(root, 'lib/ops/generated.ts')

/** The comments of a header: the text above `Struct`, and of `Struct.inputs.name` and `Struct.outputs.name`. */
function comments(source) {
  const docs = new Map()
  for (const [, doc, struct, body] of source.matchAll(
    /((?:^\/\/\/.*\n)+)struct (\w+) \{\n([\s\S]*?)^\};/gm,
  )) {
    docs.set(struct, doc.replace(/^\/\/\/ ?/gm, '').trimEnd())
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

const isMade = ({ role }) => role === 'output' || role === 'extra'
const indented = (text, margin) => [
  `${margin}/**`,
  ...text.split('\n').map((line) => `${margin} * ${line}`.trimEnd()),
  `${margin} */`,
]

function describe() {
  const { ops, enums, blockTokens } = createRequire(import.meta.url)('node-gyp-build')(
    root,
  ).describeOps()
  const docs = new Map(
    readdirSync(path.join(root, 'csrc/ops'))
      .filter((name) => name.endsWith('.h'))
      .flatMap((name) => [...comments(readFileSync(path.join(root, 'csrc/ops', name), 'utf8'))]),
  )
  const lines = [
    '// Made of csrc/ops/*.h by scripts/generate_ops.mjs, which `npm run build` runs.',
    '',
    "import type { DType, Plan, Tensor, Weight } from '../native.ts'",
    '',
    '/** Tokens of one block of the key/value cache. */',
    `export const blockTokens = ${blockTokens}`,
    '',
  ]
  for (const [type, names] of Object.entries(enums)) {
    if (type === 'DType') continue // of every tensor: lib/native.ts
    const list = `${type[0].toLowerCase()}${type.slice(1)}Names`
    lines.push(`export const ${list} = [${names.map((name) => `'${name}'`).join(', ')}] as const`)
    lines.push(`export type ${type} = (typeof ${list})[number]`, '')
  }
  for (const { name, fields } of ops) {
    const struct = `${name[0].toUpperCase()}${name.slice(1)}`
    const member = (field) => {
      const text = docs.get(`${struct}.${isMade(field) ? 'outputs' : 'inputs'}.${field.name}`)
      const optional = ['optional', 'setting', 'extra'].includes(field.role)
      return [
        ...(text ? [`  /** ${text} */`] : []),
        `  ${field.name}${optional ? '?' : ''}: ${field.type}${optional ? ' | undefined' : ''}`,
      ]
    }
    const made = fields.filter(isMade)
    lines.push(`export interface ${struct}Inputs {`)
    lines.push(...fields.filter((field) => !isMade(field)).flatMap(member), '}', '')
    if (made.length > 0)
      lines.push(`export interface ${struct}Outputs {`, ...made.flatMap(member), '}', '')
    const result = made.length > 0 ? `${struct}Outputs` : 'void'
    lines.push(...indented(docs.get(struct) ?? name, ''))
    lines.push(`export function ${name}(plan: Plan, inputs: ${struct}Inputs): ${result} {`)
    lines.push(
      made.length > 0
        ? `  return plan.record('${name}', inputs) as ${result}`
        : `  plan.record('${name}', inputs)`,
      '}',
      '',
    )
  }
  return lines.join('\n')
}

const text = describe()
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') === text) process.exit(0)
  console.error('lib/ops/generated.ts is not what csrc/ops/*.h says: npm run build')
  process.exit(1)
}
if (readFileSync(file, { encoding: 'utf8', flag: 'a+' }) !== text) writeFileSync(file, text)
