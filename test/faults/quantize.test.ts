import { readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel, quantizeCheckpoint } from '../../lib/index.ts'
import { runScript } from '../support/child.ts'
import { temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const dir = fixture('golden/moepp/tied-sharded-f32')

describe.skipIf(process.platform === 'win32')('quantizeCheckpoint', () => {
  it('on a disk that fills up leaves nothing half', async () => {
    const out = path.join(temporaryFolder(), 'out')
    const ended = await runScript(
      `const [from, to] = ${JSON.stringify([dir, out])}
      await show('quantize', moe.quantizeCheckpoint(from, to, { format: 'int8' }))
      console.log(fs.existsSync(to))`,
      { below: 'ulimit -f 8; exec "$@"' },
    )
    expect(ended).toMatchObject({ code: 0, stdout: 'quantize ERR_MOE_OPTION\nfalse\n' })
  })

  it('that is killed is taken up by the same call', async () => {
    const out = path.join(temporaryFolder(), 'out')
    const { signal } = await runScript(`
      const files = new Set()
      const onProgress = ({ file }) => {
        if (files.add(file).size === 2) process.kill(process.pid, 'SIGKILL')
      }
      await moe.quantizeCheckpoint(${JSON.stringify(dir)}, ${JSON.stringify(out)}, { format: 'int8', onProgress })`)
    expect(signal).toBe('SIGKILL')
    const left = readdirSync(out).filter((name) => !/partial$|^\./.test(name))
    expect(left.length).toBe(1)
    await expect(loadModel(out)).rejects.toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    await quantizeCheckpoint(dir, out, { format: 'int8' })
    const whole = path.join(temporaryFolder(), 'out')
    await quantizeCheckpoint(dir, whole, { format: 'int8' })
    expect(readdirSync(out)).toEqual(readdirSync(whole))
    await using model = await loadModel(out, { device: 'cpu', maxTokens: 32 })
    await using other = await loadModel(whole, { device: 'cpu', maxTokens: 32 })
    expect((await model.forward([1, 2])).logits).toEqual((await other.forward([1, 2])).logits)
  })
})
