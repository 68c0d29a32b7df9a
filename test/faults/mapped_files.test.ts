import { describe, expect, it } from 'vitest'
import { runScript } from '../support/child.ts'
import { copyCheckpoint } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'

// On the CPU the embedding table stays in the file, so the file can be harmed after loading, too. The tables here
// span many pages. Windows refuses to cut a mapped file.

const posix = process.platform !== 'win32'
const setup = () => `
const dir = ${JSON.stringify(copyCheckpoint(`${root}/demo/moepp-tiny`))}
const file = dir + '/model.safetensors'
const options = { device: 'cpu', maxTokens: 64 }
const ids = [3, 700, 2000]
`
/** Changes every weight and no size. */
const overwrite = `
const overwrite = () => {
  const bytes = fs.readFileSync(file)
  fs.writeFileSync(file, bytes.fill(7, 8 + Number(bytes.readBigUInt64LE(0))))
}
`
const healthy = `
const other = await loadModel(${JSON.stringify(fixture('golden/moepp/base-f32'))}, options)
await show('another model', other.forward([1, 2]))
await other.dispose()
`

describe.skipIf(!posix)('a weight file that is harmed', () => {
  it.each([
    ['cut to a few bytes', 'fs.truncateSync(file, 100)'],
    ['cut inside a page', 'fs.truncateSync(file, fs.statSync(file).size - 1)'],
    ['emptied', 'fs.truncateSync(file, 0)'],
    ['overwritten in place', `${overwrite} overwrite()`],
  ])('after loading: %s', async (_, harm) => {
    const { stdout, ...ended } = await runScript(`${setup()}
      const model = await loadModel(dir, options)
      await model.forward(ids)
      ${harm}
      await show('first', model.forward(ids))
      await show('second', model.generate(ids, { maxNewTokens: 4 }))
      ${healthy}
      await show('dispose', model.dispose())`)
    const bad = 'ERR_MOE_CHECKPOINT'
    expect(stdout).toBe(`first ${bad}\nsecond ${bad}\nanother model ok\ndispose ok\n`)
    expect(ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  it.each([
    ['cut', 'fs.truncateSync(file, 100)'],
    ['emptied', 'fs.truncateSync(file, 0)'],
    ['overwritten in place', 'overwrite()'],
  ])('while loading: %s', async (_, harm) => {
    const { stdout, ...ended } = await runScript(`${setup()}${overwrite}
      let harmed = false
      const onProgress = () => {
        if (!harmed) { ${harm} }
        harmed = true
      }
      await show('load', loadModel(dir, { ...options, onProgress }))
      ${healthy}`)
    expect(stdout).toBe('load ERR_MOE_CHECKPOINT\nanother model ok\n')
    expect(ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  it.each([
    ['replaced', `fs.writeFileSync(dir + '/new', 'x'); fs.renameSync(dir + '/new', file)`],
    ['deleted', 'fs.rmSync(dir, { recursive: true })'],
    ['made unreadable', 'fs.chmodSync(file, 0)'],
  ])('not when it is %s: the model has it open', async (_, harm) => {
    const { stdout, ...ended } = await runScript(`${setup()}
      const original = await loadModel(dir, options)
      const expected = String((await original.forward(ids)).logits)
      await original.dispose()
      let harmed = false
      const onProgress = () => {
        if (!harmed) { ${harm} }
        harmed = true
      }
      const model = await loadModel(dir, { ...options, onProgress })
      const { logits } = await model.forward(ids)
      console.log(String(logits) === expected)`)
    expect(stdout).toBe('true\n')
    expect(ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  it('SIGBUS from elsewhere still ends the process', async () => {
    const { signal } = await runScript(`${setup()}
      const model = await loadModel(dir, options)
      process.kill(process.pid, 'SIGBUS')
      await model.forward(ids)
      setTimeout(() => {}, 20_000)`)
    expect(signal).toBe('SIGBUS')
  })
})
