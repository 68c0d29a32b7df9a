import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

const files = (folder: string): string[] =>
  readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(mjs|ts)$/.test(name) && !/(^|\/)(node_modules|fixtures)\//.test(name))
    .map((name) => `${folder}/${name}`)

it('what benchmarks, scripts and tests import of what was built is there', () => {
  const imported = ['bench', 'scripts', 'test'].flatMap(files).flatMap((file) => {
    const text = readFileSync(`${root}/${file}`, 'utf8')
    return Array.from(
      text.matchAll(/['"`](?:\.\.?\/)+((?:dist|build\/modules)\/[\w/]+\.js)['"`]/g),
      ([, name]) => [file, name!] as const,
    )
  })
  expect(imported.length).toBeGreaterThan(20)
  const missing = imported.filter(([, name]) => !existsSync(path.join(root, name)))
  expect(missing).toEqual([])
})
