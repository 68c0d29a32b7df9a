import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type EvaluateProgress, evaluate, loadModel, type Model } from '../lib/index.ts'
import { native } from '../lib/native.ts'
import { failure, temporaryFolder } from './support/files.ts'
import { fixture, root } from './support/golden.ts'

const dir = `${root}/demo/moepp-tiny`
const held = JSON.parse(readFileSync(fixture('models/moepp-tiny/val_ids.json'), 'utf8')) as number[]
const load = (weights: 'auto' | 'int4' = 'auto', maxTokens = 128) =>
  loadModel(dir, { device: 'cpu', weights, maxTokens })

const logProbabilities = (row: Float32Array) => {
  const sum = row.reduce((n, z) => n + Math.exp(z), 0)
  return Array.from(row, (z) => z - Math.log(sum))
}

/** The definition, over whole windows. */
async function reference(models: [Model, Model], ids: number[], window: number) {
  const sums = { tokens: 0, loss: 0, other: 0, divergence: 0, agreed: 0 }
  const V = models[0].config.vocabSize
  for (let at = 0; at + 1 < ids.length; at += window) {
    const text = ids.slice(at, at + window)
    const all = await Promise.all(
      models.map(async (model) => (await model.forward(text, { logits: 'all' })).logits),
    )
    for (let t = 0; t + 1 < text.length; t++) {
      const [p, q] = all.map((logits) => logProbabilities(logits.subarray(t * V, (t + 1) * V)))
      sums.tokens++
      sums.loss -= p![text[t + 1]!]!
      sums.other -= q![text[t + 1]!]!
      for (const [v, l] of q!.entries()) sums.divergence += Math.exp(l) * (l - p![v]!)
      sums.agreed += Number(p!.indexOf(Math.max(...p!)) === q!.indexOf(Math.max(...q!)))
    }
  }
  return sums
}

describe('evaluate', async () => {
  const plain = await load()
  const int4 = await load('int4')
  afterAll(() => Promise.all([plain.dispose(), int4.dispose()]))
  const ids = held.slice(0, 300) // the last window is short

  it('gives what the definitions give', async () => {
    const seen: EvaluateProgress[] = []
    const onProgress = (progress: EvaluateProgress) => void seen.push(progress)
    const got = await evaluate(int4, ids, { against: plain, window: 128, onProgress })
    const { tokens, loss, other, divergence, agreed } = await reference([int4, plain], ids, 128)
    expect(got).toMatchObject({ tokens, window: 128 })
    expect(tokens).toBe(127 + 127 + 43)
    expect(got.loss).toBeCloseTo(loss / tokens, 5)
    expect(got.perplexity).toBeCloseTo(Math.exp(loss / tokens), 3)
    expect(got.against!.loss).toBeCloseTo(other / tokens, 5)
    expect(got.against!.divergence).toBeCloseTo(divergence / tokens, 6)
    expect(got.against!.agreement).toBe(agreed / tokens)
    expect(seen.at(-1)).toEqual({ doneTokens: 300, totalTokens: 300 })
  })

  it('finds no distance of a model from itself, and one model alone has none', async () => {
    const { against, ...own } = await evaluate(plain, ids, { against: plain, window: 64 })
    expect(against).toMatchObject({ loss: own.loss, divergence: 0, agreement: 1 })
    expect(await evaluate(plain, ids, { window: 64 })).toEqual(own)
  })

  it('encodes text, and begins each window as texts begin', async () => {
    const text = plain.tokenizer!.decode(held.slice(0, 90))
    const encoded = plain.tokenizer!.encode(text, { addSpecialTokens: false })
    const [first] = plain.tokenizer!.encode('')
    const before = first === plain.tokenizer!.bosId && first !== undefined ? [first] : []
    const windows = []
    const fresh = 32 - before.length
    for (let at = 0; at < encoded.length; at += fresh)
      windows.push(...before, ...encoded.slice(at, at + fresh))
    expect(await evaluate(plain, text, { window: 32 })).toEqual(
      await evaluate(plain, windows, { window: 32 }),
    )
  })

  it.each([
    ['window', { window: 1 }, /window must be a whole number from 2 to 128, got 1/],
    ['window', { window: 129 }, /window must be a whole number from 2 to 128, got 129/],
    ['against', { against: {} }, /against must be a model/],
    ['a name', { windows: 3 }, /windows/],
  ])('refuses options: %s', async (_, options, message) => {
    const error = await failure(() => evaluate(plain, ids, options as object))
    expect(error).toMatchObject({ code: 'ERR_MOE_OPTION', message: expect.stringMatching(message) })
  })

  it('refuses another vocabulary, one token, ids out of range, and what is no model', async () => {
    await using other = await loadModel(fixture('golden/mixtral/base-f32'), { maxTokens: 64 })
    const refused = async (run: () => unknown) => (await failure(run)).message
    expect(await refused(() => evaluate(plain, ids, { against: other }))).toMatch(
      /against must be a model of 2048 tokens/,
    )
    expect(await refused(() => evaluate(plain, [1]))).toMatch(/text must be at least two tokens/)
    expect(await refused(() => evaluate(plain, [1, 1e6]))).toMatch(/ids\[1\] must be a token id/)
    expect(await refused(() => evaluate({} as Model, ids))).toMatch(/model must be a model/)
    expect(await refused(() => evaluate(other, 'text'))).toMatch(/text must be token ids/)
  })

  it('ends with the reason of its signal, and leaves the cache free', async () => {
    const abort = new AbortController()
    const onProgress = () => abort.abort(new Error('enough'))
    const options = { window: 32, onProgress, signal: abort.signal }
    await expect(evaluate(plain, ids, options)).rejects.toThrow('enough')
    expect((await evaluate(plain, held.slice(0, 128), { window: 128 })).tokens).toBe(127)
  })
})

it('scoreLogits refuses what it cannot read', async () => {
  const { scoreLogits, tensorFrom } = native()
  const logits = tensorFrom(new Float32Array(6), [2, 3], 'f32')
  const targets = (...ids: number[]) => tensorFrom(Int32Array.from(ids), [ids.length], 'i32')
  await expect(scoreLogits(logits, targets(0, 3))).rejects.toThrow(/targets must be ids/)
  await expect(scoreLogits(logits, targets(0, -1))).rejects.toThrow(/targets must be ids/)
  await expect(scoreLogits(logits, targets(0))).rejects.toThrow(/targets/)
  await expect(scoreLogits(logits, logits)).rejects.toThrow(/targets/)
  await expect(scoreLogits(logits, targets(0, 1), targets(1, 1))).rejects.toThrow(/other/)
  await expect(scoreLogits(targets(0, 1), targets(0, 1))).rejects.toThrow(/logits/)
})

it('moe-native eval prints what evaluate gives', async () => {
  const { runScript } = await import('./support/child.ts')
  const file = path.join(temporaryFolder(), 'text.txt')
  writeFileSync(file, 'First Citizen:\nBefore we proceed any further, hear me speak.\n'.repeat(4))
  const args = ['eval', '--text', file, '--device', 'cpu', '--window', '32', '--max-tokens', '64']
  const script = (more: string[]) => `
    process.argv.splice(2, 99, ...${JSON.stringify([...args, ...more])})
    await import(${JSON.stringify(`${root}/dist/cli/main.js`)})`
  const run = await runScript(script(['--weights', 'int4', '--against-weights', 'auto', '--json']))
  expect(run.stderr).toBe('')
  await using plain = await load('auto', 64)
  await using int4 = await load('int4', 64)
  const options = { against: plain, window: 32 }
  expect(JSON.parse(run.stdout)).toEqual(await evaluate(int4, readFileSync(file, 'utf8'), options))
  const said = await runScript(script([]))
  expect(said.stdout).toMatch(
    /^\d+ tokens in windows of 32: loss \d\.\d{4}, perplexity \d+\.\d{3}\n$/,
  )
})
