// @ts-check
// The thread of the grammars: a message in, an answer out. Plain JavaScript, so that a thread can begin with it as it is.
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

/** What went wrong is only told to the console, and then the library aborts. */
let complaint = ''
for (const name of /** @type {const} */ (['log', 'warn', 'error']))
  console[name] = (...all) => {
    const text = all.map(String).join(' ')
    if (!text.startsWith('Aborted')) complaint = text
  }

// The library's file looks for these, and leaves its exports here when it is an ES module.
const world = /** @type {any} */ (globalThis)
world.require = createRequire(import.meta.url)
world.__filename = ''
world.__dirname = ''
await import('@mlc-ai/web-xgrammar')
const { GrammarCompiler, GrammarMatcher, TokenizerInfo } = world.xgrammar

const { tokens } = workerData
const size = tokens.length
const info = await TokenizerInfo.createTokenizerInfo(tokens, 'byte_level', false, size, [size - 1])
const compiler = await GrammarCompiler.createGrammarCompiler(info, false)

/** @type {Map<number, any>} */
const grammars = new Map()
/** @type {Map<number, any>} */
const matchers = new Map()

/** @type {Record<string, (task: any) => Promise<Int32Array | undefined>>} */
const tasks = {
  async compile({ grammar, text }) {
    grammars.set(grammar, await compiler.compileGrammar(text, 'root'))
    return undefined
  },
  async forget({ grammar }) {
    grammars.get(grammar)?.dispose()
    grammars.delete(grammar)
    return undefined
  },
  async begin({ matcher, grammar, ids }) {
    const made = await GrammarMatcher.createGrammarMatcher(grammars.get(grammar))
    matchers.set(matcher, made)
    for (const id of ids) made.acceptToken(id)
    return made.getNextTokenBitmask()
  },
  async accept({ matcher, id }) {
    const made = matchers.get(matcher)
    if (!made.acceptToken(id)) throw new Error(`token ${id} is not allowed`)
    return made.getNextTokenBitmask()
  },
  async end({ matcher }) {
    matchers.get(matcher)?.dispose()
    matchers.delete(matcher)
    return undefined
  },
}

/** A grammar that overflows the stack leaves the library's memory as it was then: nothing behind it is right. */
let broken = false

/** One after the other. @type {Promise<void>} */
let last = Promise.resolve()
parentPort?.on('message', ({ id, name, rest }) => {
  last = last.then(async () => {
    if (broken) return
    complaint = ''
    try {
      const mask = await tasks[name]?.(rest)
      parentPort?.postMessage({ id, mask })
    } catch (error) {
      broken = error instanceof RangeError || Object(error).name === 'RuntimeError'
      const text = complaint.replace(/^\[\w+\]\s*|\S*\.cc:\d+:\s*/g, '')
      parentPort?.postMessage({ id, error: text || String(error), broken })
    }
  })
})
parentPort?.postMessage({ id: 0 })
