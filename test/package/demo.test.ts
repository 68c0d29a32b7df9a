import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { demoModel } from '../../lib/index.ts'
import { root } from '../support/golden.ts'

/** File names in backticks; a path is one from the repository's root. */
const namedFiles = (text: string): string[] =>
  [...text.matchAll(/`([\w./-]+)`/g)].map(([, name]) => name!).filter((name) => /[./]/.test(name))

describe('demo checkpoints', () => {
  const demos = readdirSync(`${root}/demo`)

  it('one of them is the exported demoModel', () => {
    expect(path.dirname(demoModel)).toBe(`${root}/demo`)
    expect(demos).toContain(path.basename(demoModel))
  })

  it.each(demos)('the README of %s names files that are there', (name) => {
    const folder = `${root}/demo/${name}`
    const named = namedFiles(readFileSync(`${folder}/README.md`, 'utf8'))
    expect(named).toContain('tokenizer.model')
    const missing = named.filter(
      (file) => !existsSync(path.join(file.includes('/') ? root : folder, file)),
    )
    expect(missing).toEqual([])
  })
})
