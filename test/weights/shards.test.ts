import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { runScript } from '../support/child.ts'
import { copyCheckpoint, readStored, writeStored } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

it.skipIf(process.platform === 'win32')(
  'loads a checkpoint of hundreds of files where few may be open',
  async () => {
    const whole = fixture('golden/yuan/tiny-b')
    const dir = copyCheckpoint(whole)
    const tensors = [...readStored(path.join(dir, 'model.safetensors'))]
    rmSync(path.join(dir, 'model.safetensors'))
    expect(tensors.length).toBeGreaterThan(200)
    const weight_map: Record<string, string> = {}
    for (const [i, [name, tensor]] of tensors.entries()) {
      const file = `model-${String(i + 1).padStart(5, '0')}-of-${tensors.length}.safetensors`
      writeStored(path.join(dir, file), new Map([[name, tensor]]))
      weight_map[name] = file
    }
    writeFileSync(path.join(dir, 'model.safetensors.index.json'), JSON.stringify({ weight_map }))
    const source = `
      const model = await loadModel(${JSON.stringify(dir)}, { device: 'cpu', maxTokens: 64 })
      console.log(String((await model.forward([1, 2, 3])).logits))
      await model.dispose()`
    await using model = await loadModel(whole, { device: 'cpu', maxTokens: 64 })
    const stdout = `${(await model.forward([1, 2, 3])).logits}\n`
    const ended = await runScript(source, { below: 'ulimit -n 160; exec "$@"' })
    expect(ended).toEqual({ code: 0, signal: null, stderr: '', stdout })
  },
)
