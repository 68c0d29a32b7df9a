import { readdirSync } from 'node:fs'
import type { OpCase } from './case.ts'

/** The case of every file beside this one. */
export const cases: OpCase[] = []
for (const file of readdirSync(import.meta.dirname).sort()) {
  if (file === 'case.ts' || file === 'index.ts') continue
  const found = Object.values(await import(/* @vite-ignore */ `./${file}`)) as Partial<OpCase>[]
  const isCase = (value: Partial<OpCase>): value is OpCase => typeof value.op === 'string'
  const all = found.filter(isCase)
  if (all.length === 0) throw new Error(`test/cases/${file} exports no OpCase`)
  cases.push(...all)
}
