import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { devices, loadModel } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { root } from '../support/golden.ts'

const model = `${root}/demo/mixtral-tiny`
const simulated = native().gpus('cuda-sim').gpus.length > 0
const hasGpu = native().gpus('cuda').gpus.length > 0

/** Loads the model in a process of its own on a machine that the environment describes. */
function load(device: string, env: Record<string, string>) {
  const program = `
    import { loadModel } from ${JSON.stringify(`${root}/dist/index.js`)}
    try {
      const model = await loadModel(${JSON.stringify(model)}, { device: ${JSON.stringify(device)} })
      const { ids } = await model.generate([1, 2, 3], { maxNewTokens: 2 })
      console.log(JSON.stringify({ device: model.device, tokens: ids.length }))
      await model.dispose()
    } catch ({ code, message }) {
      console.log(JSON.stringify({ code, message }))
    }`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
  return JSON.parse(stdout) as Record<string, unknown>
}

describe.skipIf(!simulated)('a machine without a usable GPU (simulated)', () => {
  it.each([
    ['no driver', { MOE_SIM_DRIVER: '0' }, 'no NVIDIA driver'],
    ['a driver that is too old', { MOE_SIM_DRIVER: '12040' }, 'CUDA 12.4, too old for CUDA 13'],
    ['no GPU', { MOE_SIM_GPUS: '0' }, 'no NVIDIA GPU'],
    ['a GPU that is too old', { MOE_SIM_MAJOR: '7' }, 'capability 8.0 or newer, got 7.0'],
    [
      'no kernels for the GPU',
      { MOE_SIM_IMAGE: '0' },
      /no kernel of this build runs on it \(.*no kernel image/,
    ],
    ['the backend switched off', { MOE_CUDA: 'off' }, 'MOE_CUDA=off'],
  ])('%s: a typed error that says so', (_, env, text) => {
    const result = load('cuda-sim', env)
    expect(result.code).toBe('ERR_MOE_CUDA_UNAVAILABLE')
    expect(result.message).toMatch(text)
  })

  it('one of several that does not answer hides no other', () => {
    const env = { MOE_SIM_BROKEN: '1' }
    expect(load('cuda-sim:2', env)).toMatchObject({ tokens: 2, device: { index: 2 } })
    const broken = load('cuda-sim:1', env)
    expect(broken.code).toBe('ERR_MOE_CUDA_UNAVAILABLE')
    expect(broken.message).toMatch(/^device: cuda-sim:1 must be usable, got: /)
  })

  it('an index beyond the last GPU', async () => {
    const failure = loadModel(model, { device: 'cuda-sim:99' })
    await expect(failure).rejects.toMatchObject({ code: 'ERR_MOE_CUDA_UNAVAILABLE' })
  })
})

describe.skipIf(hasGpu)('a machine without a GPU', () => {
  it('cuda: a typed error that says what is missing', async () => {
    const failure = loadModel(model, { device: 'cuda' })
    await expect(failure).rejects.toMatchObject({ code: 'ERR_MOE_CUDA_UNAVAILABLE' })
    await expect(failure).rejects.toThrow(/no CUDA backend|no NVIDIA driver|no NVIDIA GPU/)
  })

  it('auto: runs on the CPU and says why', async () => {
    const result = load('auto', {})
    expect(result).toMatchObject({ tokens: 2, device: { type: 'cpu' } })
    expect((result.device as { reason: string }).reason).toMatch(/^no GPU: \w/)
    expect((await devices()).find(({ type }) => type === 'cuda')).toMatchObject({
      available: false,
    })
  })
})

describe.skipIf(!simulated && !hasGpu)('graphs of a GPU', () => {
  it('a replayed graph gives what the first, eager run gave, to the bit', async () => {
    const device = hasGpu ? 'cuda' : 'cuda-sim'
    const loaded = await loadModel(model, { device, maxTokens: 64 })
    const run = async () => Array.from((await loaded.forward([5, 6, 7])).logits)
    const eager = await run()
    expect([await run(), await run()]).toEqual([eager, eager]) // captured, then replayed
    await loaded.dispose()
  })
})

describe.skipIf(!simulated)('memory of a GPU (simulated)', () => {
  const gpu = () => new (native().Device)('cuda-sim', 0)

  it('too little: a typed error with what is needed and there', () => {
    const { code, message } = load('cuda-sim', { MOE_SIM_MEMORY: '1000000' })
    expect(code).toBe('ERR_MOE_OUT_OF_MEMORY')
    expect(message).toMatch(
      /free memory of 0.001 GB, got 0.00\d GB of weights.* 0.001 GB of weights would/,
    )
  })

  it('a cache that does not fit leaves nothing allocated', async () => {
    const before = gpu().freeMemory()
    const failure = loadModel(model, { device: 'cuda-sim', maxTokens: 2 ** 30 })
    await expect(failure).rejects.toMatchObject({ code: 'ERR_MOE_OUT_OF_MEMORY' })
    expect(gpu().freeMemory()).toBe(before)
  })

  it('an aborted load and a disposed model leave nothing allocated', async () => {
    const before = gpu().freeMemory()
    const controller = new AbortController()
    const aborted = loadModel(model, {
      device: 'cuda-sim',
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' })
    expect(gpu().freeMemory()).toBe(before)
    const loaded = await loadModel(model, { device: 'cuda-sim', maxTokens: 64 })
    await loaded.generate([1, 2, 3], { maxNewTokens: 3 })
    expect(gpu().freeMemory()).toBeLessThan(before)
    await loaded.dispose()
    expect(gpu().freeMemory()).toBe(before)
  })

  it('the cache takes a share of what the weights leave', async () => {
    const { device } = load('cuda-sim', { MOE_SIM_MEMORY: '12000000' })
    expect(device).toMatchObject({ type: 'cuda-sim' })
  })
})
