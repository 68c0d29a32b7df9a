import { describe, expect, it } from 'vitest'
import { type Ended, runScript } from '../support/child.ts'
import { root } from '../support/golden.ts'

// How a process ends when a model is in the middle of something.

const setup = `
const dir = ${JSON.stringify(`${root}/demo/moepp-tiny`)}
const options = { device: 'cpu', maxTokens: 8192 }
/** Thousands of steps. */
const busy = (model) => {
  const running = model.generate([1, 2, 3], { maxNewTokens: 8000, stopIds: [] })
  running.catch(() => {})
  return running
}
const firstToken = async (running) => {
  for await (const _ of running) return
}
`
const midStep = `
const model = await loadModel(dir, options)
const running = busy(model)
await new Promise((resolve) => setTimeout(resolve, 30))
`
const midLoad = (action: string) => `
await loadModel(dir, { ...options, onProgress() { ${action} } })`
const ends = (source: string, options = {}): Promise<Ended> => runScript(setup + source, options)
const clean = { signal: null, stderr: '' }

describe('the exit code is the one asked for', () => {
  it.each([
    ['process.exit in a step', `${midStep} process.exit(7)`, 7],
    ['process.exit in a load', midLoad('process.exit(7)'), 7],
    [
      'process.exitCode and a disposed model',
      `${midStep} process.exitCode = 7; await model.dispose()`,
      7,
    ],
    [
      'nothing left to do',
      'const model = await loadModel(dir, options); await model.forward([1])',
      0,
    ],
    ['dispose in a step', `${midStep} await model.dispose(); await show('answer', running)`, 0],
  ])('%s', async (_, source, code) => {
    expect(await ends(source)).toMatchObject({ ...clean, code })
  })

  it.each([
    [
      'an exception that nobody catches in a step',
      `${midStep} setImmediate(() => { throw new Error('mine') })`,
    ],
    ['an exception that nobody catches in a load', midLoad("throw new Error('mine')")],
    ['a rejection that nobody handles', `${midStep} Promise.reject(new Error('mine'))`],
  ])('%s', async (_, source) => {
    const { code, signal, stderr } = await ends(source)
    expect({ code, signal }).toEqual({ code: 1, signal: null })
    expect(stderr).toContain('Error: mine')
  })

  it('a forked process has a model of its own', async () => {
    const { code, stdout } = await ends(`
      const { fork } = await import('node:child_process')
      ${midStep}
      const tokens = (await model.generate([5], { maxNewTokens: 5 })).ids.join()
      if (process.send) process.send(tokens)
      else {
        const child = fork(process.argv[1])
        const theirs = await new Promise((resolve) => child.once('message', resolve))
        const code = await new Promise((resolve) => child.once('exit', resolve))
        console.log(theirs === tokens, code)
      }
      await model.dispose()
      process.disconnect?.()`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'true 0\n' })
  })

  it.skipIf(process.platform === 'win32').each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    '%s in a step',
    async (name) => {
      const ended = await ends(`${midStep} console.log('running'); await running`, {
        onOutput: (child: any) => child.kill(name),
      })
      expect(ended).toMatchObject({ code: null, signal: name, stderr: '' })
    },
  )

  it.skipIf(process.platform === 'win32')('SIGINT that the program handles', async () => {
    const source = `
      process.once('SIGINT', async () => {
        await model.dispose()
        process.exitCode = 130
      })
      ${midStep} console.log('running'); await running.catch((e) => console.log(e.code))`
    const onOutput = (child: any, text: string) => {
      if (text.includes('running')) child.kill('SIGINT')
    }
    const { code, stdout } = await ends(source.replace('const model', 'var model'), { onOutput })
    expect({ code, stdout }).toEqual({ code: 130, stdout: 'running\nERR_MOE_DISPOSED\n' })
  })
})

describe('worker threads that end in the middle', () => {
  const inWorker = (source: string, main: string) => `
    const { Worker } = await import('node:worker_threads')
    const source = ${JSON.stringify(`
      const { parentPort } = require('node:worker_threads')
      const main = async () => {
        const { loadModel } = await import(${JSON.stringify(`${root}/dist/index.js`)})
        const options = { device: 'cpu', maxTokens: 8192 }
        ${source}
      }
      main()`)}.replaceAll('DIR', JSON.stringify(dir))
    const start = () => new Worker(source, { eval: true })
    ${main}`
  const step = `
    const model = await loadModel(DIR, options)
    model.generate([1, 2], { maxNewTokens: 8000, stopIds: [] }).catch(() => {})
    setTimeout(() => parentPort.postMessage('running'), 10)`
  const load = `await loadModel(DIR, { ...options, onProgress() { parentPort.postMessage('running') } })`
  const terminate = `
    for (let i = 0; i < 5; i++) {
      const worker = start()
      await new Promise((resolve) => worker.once('message', resolve))
      await worker.terminate()
    }`
  it.each([
    ['terminated in a step', step, terminate],
    ['terminated in a load', load, terminate],
    [
      'exits by itself',
      `${step}; setTimeout(() => process.exit(3), 20)`,
      `
      const code = await new Promise((resolve) => start().once('exit', resolve))
      if (code !== 3) process.exit(9)`,
    ],
    [
      'throws',
      `${step}; setTimeout(() => { throw new Error('mine') }, 20)`,
      `
      const error = await new Promise((resolve) => start().once('error', resolve))
      if (error.message !== 'mine') process.exit(9)`,
    ],
    [
      'the process exits first',
      step,
      `
      const worker = start()
      await new Promise((resolve) => worker.once('message', resolve))
      process.exit(0)`,
    ],
  ])('%s; the main thread goes on', async (_, source, main) => {
    const after = `
      const model = await loadModel(dir, options)
      await show('after', model.generate([1], { maxNewTokens: 3 }))`
    const ended = await ends(inWorker(source, main + after))
    const stdout = main.includes('process.exit(0)') ? '' : 'after ok\n'
    expect(ended).toEqual({ ...clean, code: 0, stdout })
  })
})
