// A conversation in the terminal: streams what the model writes, Ctrl-C ends the answer, Ctrl-D the program.
//   node chat.mjs [MODEL]
import { createInterface } from 'node:readline/promises'
import { demoModel, loadModel } from 'moe-native'

const model = await loadModel(process.argv[2] ?? demoModel)
const terminal = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
let abort = new AbortController()
terminal.on('SIGINT', () => abort.abort(new Error('interrupted')))
let ended = false // input from a pipe ends while its last line is answered
terminal.once('close', () => {
  ended = true
})
const sequence = model.sequence() // keeps the conversation: each turn processes its own tokens only

terminal.prompt()
for await (const line of terminal) {
  abort = new AbortController()
  try {
    const answer = sequence.generate(`${line}\n`, {
      maxNewTokens: 60,
      temperature: 0.7,
      stop: '\n\n',
      signal: abort.signal,
    })
    for await (const { text } of answer) process.stdout.write(text)
  } catch (error) {
    if (!abort.signal.aborted) throw error // the conversation is as it was before this line
  }
  process.stdout.write('\n')
  if (!ended) terminal.prompt()
}
await model.dispose()
