import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { runScript } from '../support/child.ts'
import { fixture, root } from '../support/golden.ts'

const posix = process.platform !== 'win32'
const hasPrlimit = spawnSync('prlimit', ['--version']).status === 0
const simulated = native().gpus('cuda-sim').gpus.length > 0
const dir = JSON.stringify(fixture('golden/moepp/base-f32'))
/** Sets a limit of the running process: Node itself needs more to start than the case leaves. */
const limit = `
const { execFileSync } = await import('node:child_process')
const limit = (name, value) => execFileSync('prlimit', ['--pid', String(process.pid), \`--\${name}=\${value}:\`])
const used = () => 1024 * Number(/VmSize:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1])
`
const loads = `
const model = await loadModel(${dir}, { device: 'cpu', maxTokens: 64 })
await show('forward', model.forward([1, 2]))
await model.dispose()`
const clean = { code: 0, signal: null, stderr: '' }

describe.skipIf(!hasPrlimit)('out of memory', () => {
  it('in a step: that call fails, the next one works', async () => {
    const source = `${limit}
      const { kernels } = await import(${JSON.stringify(`${root}/build/modules/standalone/kernels.js`)})
      const n = 65536
      const f = (...shape) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape })
      const inputs = { x: f(n, 1), weight: f(n, 1) } // an output of 16 GiB
      await kernels.linear({ x: f(1, 1), weight: f(1, 1) })
      limit('as', used() + 2 ** 32)
      await show('step', kernels.linear(inputs).catch(({ code }) => code)) // another module's class than moe's
      await show('small step', kernels.linear({ x: f(4, 1), weight: f(4, 1) }))`
    const stdout = 'step ERR_MOE_OUT_OF_MEMORY\nsmall step ok\n'
    expect(await runScript(source)).toEqual({ ...clean, stdout })
  })

  it('in a load: nothing stays behind', async () => {
    const source = `${limit}
      const config = JSON.parse(fs.readFileSync(${dir} + '/config.json', 'utf8'))
      const big = { ...config, vocab_size: 200_000, hidden_size: 4096 } // 6.5 GB of tables
      await moe.randomModel(config, { device: 'cpu', maxTokens: 64 }).then((m) => m.dispose())
      limit('as', used() + 2 ** 31)
      const before = used()
      await show('load', moe.randomModel(big, { device: 'cpu', maxTokens: 64, weights: 'f32' }))
      console.log(used() - before < 2 ** 29)
      limit('as', 'unlimited')
      ${loads}`
    const stdout = 'load ERR_MOE_OUT_OF_MEMORY\ntrue\nforward ok\n'
    expect(await runScript(source)).toEqual({ ...clean, stdout })
  })

  it('of threads: a typed error, or fewer of them', async () => {
    // Root has no such limit.
    const asOther = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    const source = `${limit}
      await Promise.all(Array.from({ length: 9 }, () => fs.promises.stat('/'))) // Node's own threads
      limit('nproc', 1)
      await show('load', loadModel(${dir}, { device: 'cpu', maxTokens: 64 }))`
    expect(await runScript(source, asOther)).toEqual({
      ...clean,
      stdout: 'load ERR_MOE_OUT_OF_MEMORY\n',
    })
  })
})

describe.skipIf(!hasPrlimit)('no more open files', () => {
  it('a typed error, and then everything works', async () => {
    const source = `${limit}
      limit('nofile', 64)
      const files = []
      const fill = () => {
        try {
          for (;;) files.push(fs.openSync('/dev/null'))
        } catch {}
      }
      fill()
      await show('no addon', loadModel(${dir}, { device: 'cpu', maxTokens: 64 }))
      fs.closeSync(files.pop())
      await show('one left', loadModel(${dir}, { device: 'cpu', maxTokens: 64 }))
      fill()
      await show('no file', loadModel(${dir}, { device: 'cpu', maxTokens: 64 }))
      fs.closeSync(files.pop())
      ${loads}`
    const { stdout, ...ended } = await runScript(source)
    expect(ended).toEqual(clean)
    expect(stdout.trim().split('\n')).toEqual([
      'no addon ERR_MOE_NATIVE_LOAD',
      'one left ok',
      'no file ERR_MOE_CHECKPOINT',
      'forward ok',
    ])
  })
})

describe.skipIf(!simulated)('out of memory of a GPU (simulated)', () => {
  it('in a step: that call fails, the next one works as before', async () => {
    const source = `
      const model = await loadModel(${dir}, { device: 'cuda-sim', maxTokens: 64 })
      const logits = async () => String((await model.forward([1, 2, 3])).logits)
      process.env.MOE_SIM_MEMORY = '0'
      await show('step', model.forward([1, 2, 3]))
      await show('batch', model.forward([[1], [2, 3]]))
      process.env.MOE_SIM_MEMORY = String(2 ** 32)
      const after = await logits()
      const fresh = await loadModel(${dir}, { device: 'cuda-sim', maxTokens: 64 })
      console.log(after === String((await fresh.forward([1, 2, 3])).logits))`
    const stdout = 'step ERR_MOE_OUT_OF_MEMORY\nbatch ERR_MOE_OUT_OF_MEMORY\ntrue\n'
    expect(await runScript(source)).toEqual({ ...clean, stdout })
  })
})

describe.skipIf(!posix)('low limits', () => {
  it.each([
    ['no core files, small stacks', 'ulimit -c 0; ulimit -s 1024'],
    ['no locked memory', 'ulimit -l 0'],
    ['files of no bytes', 'ulimit -f 0'],
  ])('%s', async (_, command) => {
    const ended = await runScript(loads, { below: `${command}; exec "$@"` })
    expect(ended).toEqual({ ...clean, stdout: 'forward ok\n' })
  })
})
