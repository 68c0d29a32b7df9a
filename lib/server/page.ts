import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { packageFolder } from '../package_folder.ts'
import type { Exchange } from './exchange.ts'

const folder = path.join(packageFolder, 'page')

/** Nothing from elsewhere, nothing in the document itself, and no other page around it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ')

const types = { html: 'text/html', css: 'text/css', js: 'text/javascript' } as const

const file = (name: string, type: keyof typeof types) => async (exchange: Exchange) => {
  const body = await readFile(path.join(folder, name))
  exchange.response.writeHead(200, {
    'content-type': `${types[type]}; charset=utf-8`,
    'content-length': body.length,
    'cache-control': 'no-cache',
    'content-security-policy': policy,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  })
  exchange.response.end(body)
}

/** The page and its parts, as they lie in the package. */
export const page: Readonly<Record<string, (exchange: Exchange) => Promise<void>>> = {
  'GET /': file('index.html', 'html'),
  'GET /page/style.css': file('style.css', 'css'),
  'GET /page/app.js': file('app.js', 'js'),
  'GET /page/api.js': file('api.js', 'js'),
  'GET /page/counts.js': file('counts.js', 'js'),
  'GET /page/draw.js': file('draw.js', 'js'),
}
