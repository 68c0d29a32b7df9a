import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cli } from '../support/cli.ts'
import { temporaryFolder } from '../support/files.ts'

const text = '<script>alert(1)</script> & "JULIET":\nO Romeo, Romeo! wherefore art thou 1 Romeo?\n'

describe('moe-native routing', () => {
  const folder = temporaryFolder()
  const [file, page] = [path.join(folder, 'a&b.txt'), path.join(folder, 'routing.html')]
  beforeAll(() => writeFileSync(file, text.repeat(4)))

  it('reports load, entropy and FFN slots by kind of token, alike in any window size', async () => {
    const { code, stdout } = await cli('routing', '--text', file, '--html', page, '--json')
    expect(code).toBe(0)
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ model: 'moepp-tiny', architecture: 'moepp', window: 2048 })
    expect(report.layers).toHaveLength(4)
    for (const { load, topK, effectiveExperts, balanceLoss, slots } of report.layers) {
      expect(load.reduce((sum: number, share: number) => sum + share, 0)).toBeCloseTo(topK, 9)
      expect(effectiveExperts).toBeLessThan(12)
      expect(balanceLoss).toBeGreaterThan(0)
      expect(slots.ffn + slots.constant + slots.copy + slots.zero).toBeCloseTo(topK, 9)
    }
    const kinds = report.tokenKinds.map(({ kind }: { kind: string }) => kind)
    expect(kinds).toEqual(expect.arrayContaining(['word', 'fragment', 'punctuation']))
    const counted = report.tokenKinds.reduce((n: number, one: any) => n + one.tokens, 0)
    expect(counted).toBe(report.tokens)
  })

  it('prints tables of at most 80 columns', async () => {
    const { code, stdout, stderr } = await cli('routing', '--text', file, '--window', '64')
    expect([code, stderr]).toEqual([0, ''])
    expect(
      stdout
        .replace(file, 'FILE')
        .split('\n')
        .filter((line) => line.length > 80),
    ).toEqual([])
    expect(stdout).toMatch(/moepp-tiny \(moepp\): 4 layers, top 2 of 8 ffn \+ 2 constant/)
    expect(stdout).toMatch(/^ +3 {2}[·▁-█]{12} /m)
    expect(stdout).toMatch(/^fragment +\d+ +\d\.\d\d( +\d+\.\d %){4}$/m)
  })

  it.each<[string[], RegExp]>([
    [[], /--text must be given/],
    [['--text', '/no/file'], /--text must be a file of UTF-8 text, got ENOENT/],
    [['--text', '-'], /--text must be a text of at least one token/],
    [['--text', file, '--window', '99999999'], /--window must be at most/],
    [['--text', file, '--html', '/no/folder/x'], /--html must be a file/],
  ])('refuses %j', async (args, message) => {
    const { code, stderr, stdout } = await cli('routing', '--max-tokens', '4096', ...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
  })

  const executablePath = [process.env.MOE_CHROMIUM, '/usr/bin/chromium'].find(
    (one) => one !== undefined && existsSync(one),
  )
  describe.skipIf(!executablePath)('its page (needs Chromium)', () => {
    let browser: Browser
    beforeAll(async () => {
      browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] })
    })
    afterAll(() => browser?.close())

    it.each([
      [390, 'light'],
      [1280, 'dark'],
    ] as const)(
      'fits %i pixels in %s, asks for nothing and answers to keys',
      async (width, scheme) => {
        const opened = await browser.newPage({
          viewport: { width, height: 900 },
          colorScheme: scheme,
        })
        const troubles: string[] = []
        opened.on('console', (message) => troubles.push(message.text()))
        opened.on('pageerror', (error) => troubles.push(error.message))
        opened.on('request', (request) => {
          if (!/^(file|data):/.test(request.url())) troubles.push(request.url())
        })
        await opened.goto(pathToFileURL(page).href)
        expect(await opened.title()).toBe('Routing of moepp-tiny')
        expect(await opened.locator('html').getAttribute('data-theme')).toBe(scheme)
        const overflow = 'document.documentElement.scrollWidth - innerWidth'
        expect(await opened.evaluate(overflow)).toBeLessThanOrEqual(0)
        expect(await opened.locator('.text').textContent()).toBe(text.repeat(4))

        const tell = opened.locator('#load-tell')
        const before = await tell.textContent()
        await opened.locator('svg.map').first().focus()
        for (const key of ['ArrowRight', 'End', 'ArrowDown']) await opened.keyboard.press(key)
        expect(await tell.textContent()).toMatch(/^layer 1, expert \d+ \(\w+\): \d+\.\d %$/)
        await opened.locator('#theme').click()
        expect(await tell.textContent()).toBe(before)
        expect(await opened.locator('html').getAttribute('data-theme')).not.toBe(scheme)
        expect(troubles).toEqual([])
        await opened.close()
      },
    )

    it('holds all of it: styles, script and their hashes', () => {
      const html = readFileSync(page, 'utf8')
      expect(html).not.toMatch(/(src|href)="(?!data:)/)
      expect(html).toMatch(
        /content="default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-/,
      )
    })
  })
})
