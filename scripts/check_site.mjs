// Looks at the built documentation in Chromium: no page is wider than a phone, none logs an error, every picture loads.
// node scripts/check_site.mjs [--shots DIR] [--pages /,/kernels] behind `npm run docs`; MOE_CHROMIUM names another browser.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright-core'

const site = path.resolve(import.meta.dirname, '../docs/.vitepress/dist')
const { values } = parseArgs({ options: { shots: { type: 'string' }, pages: { type: 'string' } } })

const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
  '.json': 'application/json',
}
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost')
  const asked = path.join(site, decodeURIComponent(pathname))
  const file = existsSync(asked) && statSync(asked).isDirectory() ? `${asked}/index.html` : asked
  const found = file.startsWith(site) && existsSync(file)
  response.writeHead(found ? 200 : 404, {
    'content-type': types[path.extname(file)] ?? 'text/plain',
  })
  response.end(found ? readFileSync(file) : '')
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

/** The guide's pages, and of the reference its index and the longest page of each task. */
function pages() {
  if (values.pages) return values.pages.split(',')
  const html = (folder) =>
    readdirSync(path.join(site, folder))
      .filter((file) => file.endsWith('.html') && file !== '404.html')
      .map((file) => ({
        url: `${folder}/${file}`,
        size: statSync(path.join(site, folder, file)).size,
      }))
  const folders = readdirSync(path.join(site, 'api'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  )
  const longest = folders.map(({ name }) => html(`/api/${name}`).sort((a, b) => b.size - a.size)[0])
  return [...html('').map(({ url }) => url), '/api/index.html', ...longest.map(({ url }) => url)]
}

const executablePath = [process.env.MOE_CHROMIUM, '/usr/bin/chromium'].find(
  (file) => file && existsSync(file),
)
if (!executablePath)
  throw new Error('There is no Chromium: apt-get install chromium, or MOE_CHROMIUM')
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'], timeout: 150_000 })
const troubles = []

async function look(page, url) {
  await page.goto(origin + url, { waitUntil: 'load' })
  const { wider, broken } = await page.evaluate(async () => {
    const { scrollWidth, clientWidth } = document.documentElement
    const broken = []
    for (const image of document.images) await image.decode().catch(() => broken.push(image.src))
    return { wider: scrollWidth - clientWidth, broken }
  })
  if (wider > 0) troubles.push(`${url}: ${wider} px wider than the screen`)
  for (const source of broken) troubles.push(`${url}: no picture ${source}`)
}

/** A page of one size and colour scheme that notes what goes wrong in it. */
async function open(width, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme })
  page.setDefaultTimeout(150_000)
  page.on('pageerror', (error) => troubles.push(`${page.url()}: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error') troubles.push(`${page.url()}: ${message.text()}`)
  })
  return page
}

const sizes = values.shots ? [390, 1280, 1920] : [390]
const schemes = values.shots ? ['light', 'dark'] : ['light']
const urls = pages()
if (values.shots) mkdirSync(values.shots, { recursive: true })
for (const width of sizes)
  for (const scheme of schemes) {
    const page = await open(width, scheme)
    for (const url of urls) {
      await look(page, url)
      const name = url === '/' ? 'index' : url.replace(/^\/|\.html$/g, '').replaceAll('/', '-')
      if (values.shots)
        await page.screenshot({
          path: `${values.shots}/${name}-${width}-${scheme}.png`,
          fullPage: true,
        })
    }
    await page.close()
  }
await browser.close()
server.close()
for (const trouble of new Set(troubles)) console.error(trouble)
console.log(`${urls.length} pages, ${new Set(troubles).size} troubles`)
process.exitCode = troubles.length > 0 ? 1 : 0
