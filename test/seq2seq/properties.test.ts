import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadModel, type Seq2SeqGenerateOptions, type Seq2SeqModel } from '../../lib/index.ts'
import { failure } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

// Whatever is called beside it, a call gives what it gives alone, and what is written is what one pass over it says.

const vocabulary = 64 // of the smaller
const ids = fc.array(fc.nat(vocabulary - 1), { minLength: 1, maxLength: 20 })
const options: fc.Arbitrary<Seq2SeqGenerateOptions> = fc.record(
  {
    maxNewTokens: fc.integer({ min: 1, max: 8 }),
    stopIds: fc.array(fc.nat(vocabulary - 1), { maxLength: 3 }),
    temperature: fc.constantFrom(0, 0.5, 3),
    topK: fc.constantFrom(0, 1, 7, 1000),
    topP: fc.constantFrom(0, 0.3, 1),
    minP: fc.constantFrom(0, 0.1),
    repetitionPenalty: fc.constantFrom(0.8, 1.3),
    presencePenalty: fc.constantFrom(-1, 1),
    frequencyPenalty: fc.constantFrom(-0.5, 0.5),
    logprobs: fc.constantFrom(0, 1, 20),
    allowedTokens: fc.array(fc.nat(vocabulary - 1), { minLength: 1, maxLength: 50 }),
    logitBias: fc.constantFrom({ 5: 3 }, { 7: -100, 8: 1 }),
  },
  { requiredKeys: ['maxNewTokens'] },
)
const trace = fc.record({ routing: fc.boolean(), hiddenStates: fc.boolean() }, { requiredKeys: [] })
const call = fc.oneof(
  fc.record({ is: fc.constant('generate' as const), ids, options, seed: fc.nat(99) }),
  fc.record({ is: fc.constant('encode' as const), ids, trace }),
  fc.record({ is: fc.constant('forward' as const), ids, decoderIds: ids, trace }),
  fc.record({ is: fc.constant('abort' as const), ids }),
)
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never

async function run(model: Seq2SeqModel, call: Call): Promise<unknown> {
  if (call.is === 'encode') return model.encode(call.ids, call.trace)
  if (call.is === 'forward')
    return model.forward({ inputIds: call.ids, decoderIds: call.decoderIds }, call.trace)
  if (call.is === 'abort') {
    const stop = new AbortController()
    const left = failure(() => model.generate(call.ids, { signal: stop.signal }))
    stop.abort(new Error('left'))
    return (await left).message
  }
  const { timings: _, ...rest } = await model.generate(call.ids, {
    ...{ ...call.options, seed: call.seed },
  })
  return rest
}

/** Greedy ids, and how likely they were, are those of one pass over the text that was written. */
async function checkWritten(model: Seq2SeqModel, source: number[], stopIds: number[]) {
  const written = await model.generate(source, {
    ...{ maxNewTokens: 6, temperature: 0, logprobs: 1, stopIds },
  })
  const { decoderStartId, vocabSize } = model.config
  const decoderIds = [decoderStartId!, ...written.ids]
  const { logits } = await model.forward({ inputIds: source, decoderIds })
  for (const [t, { id, logprob }] of written.logprobs!.entries()) {
    const row = logits.subarray(t * vocabSize, (t + 1) * vocabSize)
    const most = Math.max(...row)
    expect(row[id]).toBe(most)
    const sum = row.reduce((n, logit) => n + Math.exp(logit - most), 0)
    expect(logprob).toBeCloseTo(-Math.log(sum), 4)
  }
}

const devices = [
  { device: 'cpu', folders: ['base-f32', 't5-gated-f32'], runs: 25, most: 6 },
  { device: 'cuda-sim', folders: ['base-f32'], runs: 1, most: 2 },
] as const

describe.each(simulated ? devices : devices.slice(0, 1))(
  'an encoder-decoder on $device',
  ({ device, folders, runs, most }) => {
    it.each(folders)('calls at once end as they do alone: %s', async (folder) => {
      await using model = await loadModel<Seq2SeqModel>(fixture('golden/seq2seq', folder), {
        ...{ device, dtype: 'f32', maxTokens: 192, deterministic: true },
      })
      await fc.assert(
        fc.asyncProperty(
          fc.array(call, { minLength: 2, maxLength: most }),
          ids,
          async (calls, text) => {
            const together = await Promise.all(calls.map((one) => run(model, one)))
            for (const [i, one] of calls.entries())
              expect(together[i]).toEqual(await run(model, one))
            await checkWritten(model, text, text.slice(0, 2))
          },
        ),
        { numRuns: runs, seed: 1 },
      )
    })
  },
)
