import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

const read = (file: string) => readFileSync(`${root}/${file}`, 'utf8')

it('LICENSES.md lists every package of an installation with its licence', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { license?: string; dev?: boolean }>
  }
  const installed = Object.entries(packages)
    .filter(([place, { dev }]) => place !== '' && !dev)
    .map(([place, { license }]) => [place.replace(/^.*node_modules\//, ''), license])
  const listed = [...read('LICENSES.md').matchAll(/^\| (\S+) \| (\S+) \|/gm)]
    .map(([, name, license]) => [name, license])
    .filter(([name]) => name !== 'package' && name !== '---')
  expect(listed).toEqual(installed)
})
