// A conversation in the terminal: streams what the model writes, Ctrl-C ends the answer, Ctrl-D the program.
//   node examples/chat.ts [MODEL]
import { createInterface } from 'node:readline/promises'
import { loadModel } from 'moe-native'

await using model = await loadModel(process.argv[2] ?? 'demo/moepp-tiny')
const terminal = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
let transcript = ''

terminal.prompt()
for await (const line of terminal) {
  transcript += `${line}\n`
  const abort = new AbortController()
  terminal.once('SIGINT', () => abort.abort(new Error('interrupted')))
  try {
    const answer = model.generate(transcript, {
      maxNewTokens: 60,
      temperature: 0.7,
      stop: '\n\n',
      signal: abort.signal,
    })
    for await (const { text } of answer) process.stdout.write(text)
    transcript += (await answer).text
  } catch (error) {
    if (!abort.signal.aborted) throw error
  }
  transcript += '\n'
  process.stdout.write('\n')
  terminal.prompt()
}
