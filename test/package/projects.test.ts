import { existsSync } from 'node:fs'
import { afterEach, expect, it, vi } from 'vitest'
import { longest } from '../../vitest.config.ts'
import { root } from '../support/golden.ts'

afterEach(() => {
  vi.doUnmock('node:fs')
  vi.resetModules()
})

/** Names of the test projects on a machine with or without the simulator, and what is said of them. */
async function projects(simulator: boolean): Promise<{ names: string[]; said: string[] }> {
  const said: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((line) => void said.push(line))
  vi.doMock('node:fs', () => ({ existsSync: () => simulator }))
  const { default: config } = await import('../../vitest.config.ts')
  log.mockRestore()
  const all = config.test!.projects as { test: { name: string } }[]
  return { names: all.map(({ test }) => test.name), said }
}

it('models run on the simulated GPU where it is built', async () => {
  expect(await projects(true)).toEqual({ names: ['native', 'cuda-sim'], said: [] })
})

it('files that are said to take longest are there', () => {
  expect(longest.filter((file) => !existsSync(`${root}/${file}`))).toEqual([])
})

it('where it is not, the project is left out, and one line says so', async () => {
  const { names, said } = await projects(false)
  expect(names).toEqual(['native'])
  expect(said).toEqual([expect.stringMatching(/cuda-sim is left out: .*no simulator/)])
})
