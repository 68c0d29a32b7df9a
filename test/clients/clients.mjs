// What the clients of OpenAI's protocol make of the server's answers, against what it answers a plain request: one table of
// requests for all of them, over a copy of the demo with a template that has tools. Not part of the tests that run everywhere,
// since it installs the clients:
//   npm run test:clients
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadModel } from '../../dist/index.js'
import { serve } from '../../dist/server/index.js'
import { aiSdk } from './ai_sdk.mjs'
import { langchain } from './langchain.mjs'
import { openai } from './openai.mjs'
import { plain } from './plain.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-clients-'))
cpSync(path.join(root, 'demo/moepp-tiny'), folder, { recursive: true })
copyFileSync(
  path.join(root, 'test/fixtures/chat/turns.jinja'),
  path.join(folder, 'chat_template.jinja'),
)
const model = await loadModel(folder, { device: 'cpu', maxTokens: 4096 })
const server = await serve(model, { port: 0, name: 'demo', apiKey: 'secret' })
after(async () => {
  await server.close()
  await model.dispose()
  rmSync(folder, { recursive: true })
})

const node = Number(process.versions.node.split('.')[0])
const baseURL = `${server.url}/v1`
const clients = {
  plain: plain(baseURL),
  'openai 6': openai((await import('openai-6')).default, baseURL),
  // The client itself asks for it.
  ...(node >= 22 && { 'openai 7': openai((await import('openai-7')).default, baseURL) }),
  'ai-sdk': aiSdk(baseURL),
  langchain: langchain(baseURL),
}

const user = 'Good morrow.'
const schema = {
  type: 'object',
  properties: { city: { enum: ['Rome', 'Verona'] }, degrees: { type: 'integer', minimum: 0, maximum: 60 } },
  required: ['city', 'degrees'],
  additionalProperties: false,
}
const tool = { name: 'weather', description: 'The weather of a city.', parameters: schema }

/**
 * What a client is asked, and what its answer must be beside equal to the plain request's. A client that has no way to ask
 * leaves the method out.
 */
const table = {
  completion: [{ prompt: 'ROMEO:', most: 12 }, ({ text }) => assert.notEqual(text, '')],
  chat: [{ user, most: 12 }, ({ usage }) => assert.equal(usage.output, 12)],
  stream: [{ user, most: 12 }, ({ pieces }) => assert.ok(pieces > 2)],
  logprobs: [{ user, most: 6 }, ({ tokens }) => assert.equal(tokens.length, 6)],
  schema: [
    { user, most: 60, schema },
    ({ value }) => assert.ok(['Rome', 'Verona'].includes(value.city)),
  ],
  tools: [
    { user, most: 200, tool },
    ({ name, input }) => assert.deepEqual([name, typeof input.degrees], ['weather', 'number']),
  ],
  notFound: [{ user, model: 'other' }, ({ status }) => assert.equal(status, 404)],
  badRequest: [{ user, temperature: -1 }, ({ status }) => assert.equal(status, 400)],
  noKey: [{ user, key: 'wrong' }, ({ status }) => assert.equal(status, 401)],
}

for (const [what, [asked, check]] of Object.entries(table)) {
  const wanted = await clients.plain[what](asked)
  for (const [name, client] of Object.entries(clients))
    test(`${what}, ${name}`, {
      skip: client[what] ? false : 'the client does not ask this',
    }, async () => {
      const got = await client[what](asked)
      check(got)
      // A client that puts words around a prompt gets another text.
      const { pieces: _, framed, ...comparable } = got
      if (framed) delete comparable.text
      assert.deepEqual(
        comparable,
        Object.fromEntries(Object.keys(comparable).map((key) => [key, wanted[key]])),
      )
    })
}
