import { cpSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Phatgoose } from '../../lib/adapters/phatgoose.ts'
import { readPhatgooseConfig } from '../../lib/adapters/phatgoose_config.ts'
import { loadModel, type Seq2SeqModel } from '../../lib/index.ts'
import { type LowRank, type Module, modulesOf } from '../../lib/layers/projection.ts'
import { buildSeq2Seq, layersOf } from '../../lib/load_seq2seq.ts'
import type { NumberArray, Plan, Tensor } from '../../lib/native.ts'
import { Seq2SeqRunner, type TextState } from '../../lib/seq2seq/runner.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { copyCheckpoint, editJson, failure, readStored, writeStored } from '../support/files.ts'
import { fixture, golden, maxDifference } from '../support/golden.ts'
import { devices } from '../support/gpus.ts'

const load = (dir: string, device: string, dtype: 'f32' | 'bf16' = 'f32') =>
  loadModel<Seq2SeqModel>(dir, { device: device as 'cpu', dtype, maxTokens: 256 })

const plain = fixture('golden/seq2seq/t5-gated-f32')
/** The folder as it is, or its experts beside the base that they were made for. */
function checkpointOf(folder: string): string {
  const dir = fixture('golden/lora_experts', folder)
  if (folder !== 't5-top1-f32') return dir
  const copy = copyCheckpoint(plain)
  for (const name of ['experts.json', 'experts.safetensors'])
    cpSync(`${dir}/${name}`, `${copy}/${name}`)
  return copy
}

/** Modules whose choices the golden data has. */
const routed = [
  'encoder.block.0.layer.0.SelfAttention.q',
  'encoder.block.0.layer.1.DenseReluDense.wi_0',
  'encoder.block.0.layer.1.DenseReluDense.wo',
  'decoder.block.0.layer.0.SelfAttention.o',
  'decoder.block.0.layer.1.EncDecAttention.q',
  'decoder.block.0.layer.1.EncDecAttention.k',
  'decoder.block.0.layer.2.DenseReluDense.wi_1',
]

/** Experts that also tell what they chose: outputs `{module}.ids` and `.weights` of the plans that they are in. */
function telling(experts: Phatgoose): { lowRank: LowRank; chosen: Map<string, NumberArray> } {
  const chosen = new Map<string, NumberArray>()
  const watch = (plan: Plan, modules: readonly Module[]): Plan => {
    const left = [...modules]
    const names: string[] = []
    const run = plan.run.bind(plan)
    const value: Plan['run'] = async (...given) => {
      const outputs = await run(...given)
      for (const name of names) chosen.set(name, outputs[name]!.slice())
      return outputs
    }
    Object.defineProperty(plan, 'run', { value, configurable: true })
    return {
      record(op: string, fields: object) {
        const outputs = plan.record(op, fields) as Record<string, Tensor>
        if (op !== 'topK') return outputs
        const { name } = left.shift()!
        for (const part of ['ids', 'weights']) {
          plan.output(`${name}.${part}`, outputs[part]!)
          names.push(`${name}.${part}`)
        }
        return outputs
      },
    } as Plan
  }
  return {
    chosen,
    lowRank: {
      add: (plan, x, modules, ...rest) => experts.add(watch(plan, modules), x, modules, ...rest),
    },
  }
}

describe.each(['t5-phatgoose-f32', 't5-top1-f32'])('%s', (folder) => {
  const dir = checkpointOf(folder)
  const want = golden(`${fixture('golden/lora_experts', folder)}/golden.safetensors`)
  const inputIds = want.ids('encode.input_ids')
  const decoderIds = want.ids('decode.input_ids')

  describe.each(devices)('on %s', (device) => {
    let model: Seq2SeqModel
    beforeAll(async () => {
      model = await load(dir, device)
    })
    afterAll(() => model.dispose())

    it("the encoder's output and logits of one pass", async () => {
      const { encoder, logits } = await model.forward({ inputIds, decoderIds })
      expect(maxDifference(encoder.hidden, want.get('encode.hidden'))).toBeLessThan(2e-4)
      expect(maxDifference(logits, want.get('decode.logits'))).toBeLessThan(2e-4)
    })

    it('greedy tokens', async () => {
      // Each is a step of its own, which takes the simulator long.
      const tokens = want.ids('generate.tokens').slice(0, device === 'cpu' ? undefined : 2)
      const options = { maxNewTokens: tokens.length, stopIds: [] }
      expect((await model.generate(inputIds, options)).ids).toEqual(tokens)
    })

    // Bits of few rows and many differ on a GPU.
    if (device !== 'cpu') return
    it('a text gives what it gives among others', async () => {
      const inputs = [inputIds.length, 3, 9].map((n) => ({
        inputIds: inputIds.slice(0, n),
        decoderIds: decoderIds.slice(0, 2 + (n % 5)),
      }))
      const each = await Promise.all(inputs.map((input) => model.forward(input)))
      expect(await model.forward(inputs)).toEqual(each)
    })
  })

  it('what each token chooses in each module, and tokens one by one', async () => {
    const checkpoint = openCheckpoint(dir)
    const { graph, weights } = buildSeq2Seq(checkpoint, 'f32', 'auto')
    await weights.load({})
    const experts = (await Phatgoose.open(dir, modulesOf(layersOf(graph)), undefined, undefined))!
    const { lowRank, chosen } = telling(experts)
    const runner = new Seq2SeqRunner(graph, {
      ...{ gpu: undefined, dtype: 'f32', threads: 1, numBlocks: 8, lowRank },
      ...{ vocabulary: graph.config.vocabSize, deterministic: false },
    })
    const text = (ids: number[], blocks: number[]): TextState => ({
      ...{
        source: inputIds,
        sourceBlocks: [blocks[0]!],
        ids,
        targetBlocks: [blocks[1]!],
        passed: 0,
      },
    })
    const whole = text(decoderIds, [0, 1])
    const slow = text([], [2, 3])
    const trace = { routing: false, hiddenStates: false }
    await runner.encode([whole], { ...trace, keep: true, hidden: false })
    await runner.decode([whole], trace)
    const { count, topK } = readPhatgooseConfig(dir)!
    for (const name of routed) {
      const ids = want.ids(`routing.${name}.expert_index`)
      expect(Array.from(chosen.get(`${name}.ids`)!), name).toEqual(ids)
      const probabilities = want.get(`routing.${name}.probabilities`)
      const expected = ids.map((id, i) => probabilities[Math.floor(i / topK) * count + id]!)
      expect(maxDifference(chosen.get(`${name}.weights`)!, expected), name).toBeLessThan(1e-5)
    }
    await runner.encode([slow], { ...trace, keep: true, hidden: false })
    const logits: number[] = []
    for (const id of decoderIds) {
      slow.ids.push(id)
      const [result] = await runner.decode([slow], trace)
      logits.push(...result!.logits!)
    }
    expect(maxDifference(logits, want.get('step.logits'))).toBeLessThan(2e-4)
    runner.dispose()
    for (const tensor of [...weights.tensors, ...experts.tensors]) tensor.release()
  })
})

it("in bf16 as in f32 where rounding changes no token's choice", async () => {
  const dir = fixture('golden/lora_experts/t5-phatgoose-f32')
  const want = golden(`${dir}/golden.safetensors`)
  const all = copyCheckpoint(dir)
  editJson(`${all}/experts.json`, (config) => Object.assign(config, { top_k: config.num_experts }))
  const input = {
    inputIds: want.ids('encode.input_ids'),
    decoderIds: want.ids('decode.input_ids'),
  }
  const logitsOf = async (device: string, dtype: 'f32' | 'bf16') => {
    await using model = await load(all, device, dtype)
    return (await model.forward(input)).logits
  }
  const exact = await logitsOf('cpu', 'f32') // up to 8
  for (const device of devices)
    expect(maxDifference(await logitsOf(device, 'bf16'), exact), device).toBeLessThan(0.3)
})

describe('refused', () => {
  it.each([
    ['experts of modules that the model does not have', 'block.1.', 'block.9.', /block\.9\.layer/],
    ['of a block that is not there', 'wi_0', 'wi', /DenseReluDense\.wi$/],
  ])('%s', async (_, from, to, message) => {
    const copy = copyCheckpoint(fixture('golden/lora_experts/t5-phatgoose-f32'))
    const file = `${copy}/experts.safetensors`
    const tensors = [...readStored(file)].map(
      ([name, tensor]) => [name.replace(from, to), tensor] as const,
    )
    writeStored(file, new Map(tensors))
    expect(await failure(() => load(copy, 'cpu'))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(message),
    })
  })
})
