import { existsSync } from 'node:fs'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'
import { useServer } from './support.ts'

// The page in a real browser: Debian's package, or what MOE_CHROMIUM names.

const executablePath = [process.env.MOE_CHROMIUM, '/usr/bin/chromium'].find(
  (path) => path !== undefined && existsSync(path),
)
if (!executablePath)
  console.log(
    'test/server/browser.test.ts is left out: there is no Chromium (apt-get install chromium)',
  )

describe.skipIf(!executablePath)('the page in a browser', () => {
  const { url, model } = useServer(`${root}/demo/moepp-tiny`)
  const locked = useServer(`${root}/demo/moepp-tiny`, { apiKey: 'secret' })
  let browser: Browser
  const troubles: string[] = []
  beforeAll(async () => {
    const args = ['--no-sandbox']
    browser = await chromium.launch({ executablePath: executablePath!, args, timeout: 150_000 })
  })
  afterAll(() => browser?.close())
  afterEach(() => expect(troubles.splice(0)).toEqual([]))

  /** A page that reports what it should not do. */
  async function open(
    options: Parameters<Browser['newPage']>[0] = {},
    to = url(),
    expected = /^$/,
  ): Promise<Page> {
    const page = await browser.newPage(options)
    page.setDefaultTimeout(150_000)
    page.on('pageerror', (error) => troubles.push(error.message))
    page.on('console', (message) => {
      const bad = ['error', 'warning'].includes(message.type())
      if (bad && !/^Canvas2D/.test(message.text()) && !expected.test(message.text()))
        troubles.push(message.text())
    })
    page.on('request', (request) => {
      const elsewhere = !request.url().startsWith(to) && !request.url().startsWith('data:')
      if (elsewhere) troubles.push(request.url())
    })
    // So that answers have the lengths that are asked for.
    await page.route('**/v1/chat/completions', (route) => {
      const asked = { ...route.request().postDataJSON(), ignore_eos: true }
      return route.continue({ postData: JSON.stringify(asked) })
    })
    await page.goto(to)
    return page
  }
  const state = (page: Page, text: string) => page.locator('#state', { hasText: text }).waitFor()
  async function ask(page: Page, tokens: number, text = 'Good morrow.') {
    await page.getByLabel('Tokens', { exact: true }).fill(String(tokens))
    await page.getByLabel('Message').fill(text)
    await page.keyboard.press('Enter')
  }
  /** Colours of the map that are not those of an empty cell, of marks or of nothing. */
  const painted = (page: Page) =>
    page.locator('#map').evaluate((node) => {
      const canvas = node as unknown as {
        width: number
        height: number
        getContext(kind: '2d'): any
      }
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      const colours = new Set<string>()
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255) colours.add([data[i], data[i + 1], data[i + 2]].join())
      return colours.size
    })

  it('answers, shows where each token went, and moves by keys', async () => {
    const page = await open()
    await state(page, 'ready')
    await page.getByLabel('Temperature').fill('0')
    const empty = await painted(page)
    await ask(page, 24)
    await state(page, 'answered: 24 tokens')
    const messages = [{ role: 'user', content: 'Good morrow.' } as const]
    const wanted = await model().chat(messages, { maxNewTokens: 24, temperature: 0, stopIds: [] })
    const answer = page.getByRole('listbox')
    expect(await answer.textContent()).toBe(wanted.text)
    expect(await painted(page)).toBeGreaterThan(empty)

    await answer.getByRole('option').first().click()
    const tell = page.locator('#tell')
    expect(await tell.textContent()).toMatch(
      /^Token 1 of 24: \d FFN, \d constant, .* of 8 expert slots\.$/,
    )
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('ArrowDown')
    expect(await tell.textContent()).toMatch(/^Token 10 of 24: /)
    const focused = page.locator('[role=option]:focus')
    expect(await focused.getAttribute('aria-selected')).toBe('true')
    await page.keyboard.press('End')
    expect(await tell.textContent()).toMatch(/^Token 24 of 24: the last one .* not processed/)
    await page.keyboard.press('Home')
    await page.getByText('As a table').click()
    await expect
      .poll(() => page.getByRole('rowheader').allTextContents())
      .toEqual([0, 1, 2, 3].map((l) => `layer ${l}`))
    for (const mode of ['answer', 'live', 'total']) {
      await page.getByLabel('Show').selectOption(mode)
      await expect.poll(() => painted(page)).toBeGreaterThan(empty)
    }
    expect(await page.locator('#saved').textContent()).toMatch(/^\d+ %$/)

    await ask(page, 3, 'And then?')
    await state(page, 'answered: 3 tokens')
    expect(await page.getByRole('listbox').count()).toBe(1)
    expect(await page.locator('#log h2').allTextContents()).toEqual([
      'You',
      'Model',
      'You',
      'Model',
    ])
    await page.getByRole('button', { name: 'New' }).click()
    expect(await page.locator('#log').textContent()).toBe('')
    await page.close()
  })

  it('stopping ends the text on the server, and what was said stays', async () => {
    const page = await open()
    await state(page, 'ready')
    await ask(page, 1900)
    await page.locator('.token').nth(3).waitFor({ state: 'attached' }) // a line's end is not to be seen
    await page.getByRole('button', { name: 'Stop' }).dispatchEvent('click') // at once
    await state(page, 'stopped')
    await expect.poll(() => model().stats.running).toBe(0)
    expect(await page.locator('.token').count()).toBeGreaterThan(3)
    await page.close()
  })

  it('says what the server says is wrong', async () => {
    const page = await open({}, url(), /400/)
    await state(page, 'ready')
    await ask(page, 4, 'word '.repeat(3000))
    await state(page, 'failed')
    expect(await page.locator('.failed').textContent()).toMatch(/at most 2048 tokens/)
    await ask(page, 2, 'Again.')
    await state(page, 'answered: 2 tokens')
    await page.close()
  })

  it('asks for the key where there is one', async () => {
    const page = await open({}, locked.url(), /401/)
    await state(page, 'needs the API key')
    await page.getByLabel('API key').fill('secret')
    await page.keyboard.press('Enter')
    await state(page, 'ready')
    await ask(page, 2)
    await state(page, 'answered: 2 tokens')
    await page.close()
  })

  it.each([
    [390, 844, 'light'],
    [1280, 800, 'dark'],
    [1920, 1080, 'light'],
  ] as const)(
    '%i x %i, %s: fits, and every control has a name',
    async (width, height, colorScheme) => {
      const page = await open({ viewport: { width, height }, colorScheme })
      await state(page, 'ready')
      await ask(page, 30)
      await state(page, 'answered')
      const found = await page.evaluate(`(() => {
      const root = document.documentElement
      const controls = [...document.querySelectorAll('button, input, select, textarea, canvas')]
      const named = (node) => node.labels?.length || node.textContent.trim() || node.getAttribute('aria-labelledby') || node.getAttribute('aria-label')
      const cut = [...document.querySelectorAll('dd')].filter((node) => node.scrollWidth > node.parentElement.clientWidth)
      return {
        wide: root.scrollWidth > root.clientWidth,
        unnamed: controls.filter((node) => !named(node)).map((node) => node.id),
        cut: cut.map((node) => node.id),
        theme: root.dataset.theme,
      }
    })()`)
      expect(found).toEqual({ wide: false, unnamed: [], cut: [], theme: colorScheme })
      const button = page.getByRole('button', { name: 'Dark' })
      expect(await button.getAttribute('aria-pressed')).toBe(String(colorScheme === 'dark'))
      await button.click()
      expect(await button.getAttribute('aria-pressed')).toBe(String(colorScheme !== 'dark'))
      if (process.env.MOE_SCREENSHOTS)
        await page.screenshot({ path: `${process.env.MOE_SCREENSHOTS}/page-${width}.png` })
      await page.close()
    },
  )
})
