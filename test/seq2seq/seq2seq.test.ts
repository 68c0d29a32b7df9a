import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type CappedRouting,
  loadModel,
  type Seq2SeqModel,
  type StackTrace,
} from '../../lib/index.ts'
import { buildSeq2Seq } from '../../lib/load_seq2seq.ts'
import { Seq2SeqRunner, type TextState } from '../../lib/seq2seq/runner.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { fixture, golden, maxDifference, range } from '../support/golden.ts'
import { devices } from '../support/gpus.ts'

const tolerance = 5e-5
const folders = ['base-f32', 'overflow-tied-f32', 'allsparse-bf16', 't5-gated-f32']

describe.each(devices)('encoder-decoders on %s', (device) => {
  describe.each(folders)('%s', (folder) => {
    const dir = fixture('golden/seq2seq', folder)
    const want = golden(`${dir}/golden.safetensors`)
    const inputIds = want.ids('encode.input_ids')
    const decoderIds = want.ids('decode.input_ids')
    let model: Seq2SeqModel
    beforeAll(async () => {
      model = await loadModel<Seq2SeqModel>(dir, { device, dtype: 'f32', maxTokens: 512 })
    })
    afterAll(() => model.dispose())

    const near = (got: ArrayLike<number>, name: string, within = tolerance) =>
      expect(maxDifference(got, want.get(name)), name).toBeLessThan(within)

    function check({ routing, hiddenStates }: StackTrace, stack: 'encode' | 'decode') {
      for (const [l, hidden] of hiddenStates!.entries()) {
        const at = `${stack}.layer${l}`
        near(hidden, `${at}.out`)
        const layer = routing![l] as CappedRouting
        expect(layer !== undefined).toBe(want.has(`${at}.router_logits`))
        if (!layer) continue
        near(layer.logits, `${at}.router_logits`)
        near(layer.weights, `${at}.router_prob`)
        expect(Array.from(layer.expertIds)).toEqual(want.ids(`${at}.expert_index`))
        expect(Array.from(layer.dropped)).toEqual(want.ids(`${at}.overflow`))
      }
    }

    it('one pass: logits, hidden states, routing and what is dropped', async () => {
      const trace = { routing: true, hiddenStates: true }
      const result = await model.forward({ inputIds, decoderIds }, trace)
      near(result.encoder.hidden, 'encode.hidden')
      near(result.logits, 'decode.logits', 2e-4)
      check(result.encoder, 'encode')
      check(result.decoder, 'decode')
    })

    it('greedy tokens', async () => {
      // Each is a step of its own, which takes the simulator long.
      const tokens = want.ids('generate.tokens').slice(0, device === 'cpu' ? undefined : 5)
      const options = { maxNewTokens: tokens.length, stopIds: [] }
      expect((await model.generate(inputIds, options)).ids).toEqual(tokens)
    })

    // Bits of few rows and many differ on a GPU, and steps one by one take the simulator long.
    if (device !== 'cpu') return
    it('a text gives what it gives among others', async () => {
      const lengths = [inputIds.length, 3, 33]
      const texts = lengths.map((n) => inputIds.slice(0, n))
      const alone = await Promise.all(texts.map((ids) => model.encode(ids)))
      expect(await model.encode(texts)).toEqual(alone)
      const inputs = texts.map((ids, i) => ({
        inputIds: ids,
        decoderIds: decoderIds.slice(0, 7 + 3 * i),
      }))
      const trace = { routing: true }
      const each = await Promise.all(inputs.map((input) => model.forward(input, trace)))
      expect(await model.forward(inputs, trace)).toEqual(each)
      const options = { maxNewTokens: 9, stopIds: [], logprobs: 2 }
      const written = await Promise.all(texts.map((ids) => model.generate(ids, options)))
      for (const [i, ids] of texts.entries()) {
        const { timings: _, ...result } = await model.generate(ids, options)
        expect(written[i]).toMatchObject(result)
      }
    })

    it('tokens one by one, with what is kept of those before', async () => {
      const { graph, weights } = buildSeq2Seq(openCheckpoint(dir), 'f32', 'auto')
      await weights.load({})
      const { vocabSize: vocabulary } = graph.config
      const runner = new Seq2SeqRunner(graph, {
        ...{ gpu: undefined, dtype: 'f32', threads: 1, numBlocks: 8 },
        ...{ vocabulary, deterministic: false },
      })
      const state: TextState = {
        ...{ source: inputIds, sourceBlocks: [6, 1], ids: [] as number[], targetBlocks: [3, 0] },
        passed: 0,
      }
      const trace = { routing: true, hiddenStates: false }
      await runner.encode([state], { ...trace, keep: true, hidden: false })
      const rows: number[] = []
      const layers = range(graph.decoder.length)
      const dropped = layers.map((): number[] => [])
      for (const id of decoderIds) {
        state.ids.push(id)
        const [result] = await runner.decode([state], trace)
        rows.push(...result!.logits!)
        for (const l of layers) dropped[l]!.push(...(result!.routing![l]?.dropped ?? []))
      }
      const name = want.has('step.logits') ? 'step.logits' : 'decode.logits'
      near(rows, name, 2e-4)
      expect(dropped.flat().filter((one) => one === 1)).toEqual([])
      runner.dispose()
      for (const tensor of weights.tensors) tensor.release()
    })
  })
})
