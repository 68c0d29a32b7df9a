import type { Device, DeviceInfo } from './device.ts'
import { BlockPool } from './engine/blocks.ts'
import {
  checkForwardOptions,
  checkIds,
  disposed,
  type ForwardOptions,
  type ForwardResult,
  runForward,
  type TokenIds,
} from './engine/forward.ts'
import { type GenerateContext, Generation } from './engine/generate.ts'
import type { GenerateOptions } from './engine/generated.ts'
import type { SamplingOptions } from './engine/sampling.ts'
import { Scheduler } from './engine/scheduler.ts'
import { Sequence } from './engine/sequence.ts'
import { SequenceState } from './engine/sequence_state.ts'
import { StepRunner } from './engine/step.ts'
import { badOption } from './errors.ts'
import type { Architecture } from './models/architecture.ts'
import type { ModelConfig } from './models/config.ts'
import type { ActivationDType, PlanTime, Tensor, Weight } from './native.ts'
import type { Tokenizer } from './tokenizer/index.ts'

/** Numbers of weights. */
export interface Parameters {
  total: number
  /** Used for one token, when it chooses as many FFN experts as it can; embedding rows not counted. */
  activePerToken: number
}

/** @internal What loadModel hands over. */
export interface ModelParts {
  graph: Architecture
  device: Device
  dtype: ActivationDType
  threads: number
  numBlocks: number
  maxTokens: number
  parameters: Parameters
  tokenizer: Tokenizer | undefined
  stopIds: number[]
  published: SamplingOptions
  tensors: (Tensor | Weight)[]
}

/**
 * A loaded model. All calls are asynchronous and run off the JavaScript thread; concurrent calls share steps.
 * Made by `loadModel`.
 */
export class Model {
  /** config.json, validated and under one set of names. */
  readonly config: ModelConfig
  readonly device: DeviceInfo
  readonly parameters: Parameters
  /** Element type of activations. */
  readonly dtype: ActivationDType
  /** Tokens that fit the cache, over all sequences. */
  readonly maxTokens: number
  /** Absent when the folder has no tokenizer; ids work all the same. */
  readonly tokenizer: Tokenizer | undefined
  readonly #graph: Architecture
  readonly #pool: BlockPool
  readonly #runner: StepRunner
  readonly #scheduler: Scheduler
  readonly #context: GenerateContext
  readonly #tensors: (Tensor | Weight)[]
  readonly #sequences = new Set<Sequence>()
  #disposed: Promise<void> | undefined

  /** @internal */
  constructor(parts: ModelParts) {
    const { graph, tokenizer } = parts
    this.config = graph.config
    this.device = parts.device.info
    this.parameters = parts.parameters
    this.dtype = parts.dtype
    this.maxTokens = parts.maxTokens
    this.tokenizer = tokenizer
    this.#graph = graph
    this.#tensors = parts.tensors
    this.#pool = new BlockPool(parts.numBlocks)
    const { vocabSize, numLayers } = graph.config
    const vocabulary = Math.min(tokenizer?.size ?? vocabSize, vocabSize)
    this.#runner = new StepRunner(graph, { ...parts, gpu: parts.device.gpu, vocabulary })
    this.#scheduler = new Scheduler(this.#runner, this.#pool)
    this.#context = {
      scheduler: this.#scheduler,
      pool: this.#pool,
      numLayers,
      vocabSize,
      stopIds: parts.stopIds,
      published: parts.published,
      stream: tokenizer && ((previousId) => tokenizer.stream(previousId)),
      newSequence: () => this.#newState(),
    }
  }

  /**
   * One forward pass without sampling. An array of sequences of any lengths runs as one ragged batch; a
   * sequence's result does not depend on its neighbours.
   *
   * @param ids one sequence, or an array of them
   * @returns one result, or one for each sequence
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_CONTEXT_FULL, ERR_MOE_DISPOSED
   */
  forward(ids: TokenIds, options?: ForwardOptions): Promise<ForwardResult>
  forward(ids: readonly TokenIds[], options?: ForwardOptions): Promise<ForwardResult[]>
  async forward(
    ids: TokenIds | readonly TokenIds[],
    options: ForwardOptions = {},
  ): Promise<ForwardResult | ForwardResult[]> {
    this.#check()
    checkForwardOptions(options)
    const many = Array.isArray(ids) && ids.length > 0 && typeof ids[0] === 'object'
    const all = (many ? ids : [ids]) as TokenIds[]
    for (const one of all) checkIds('forward', one, this.config.vocabSize)
    const results = await Promise.all(all.map((one) => this.#forwardOne(one, options)))
    return many ? results : results[0]!
  }

  async #forwardOne(ids: TokenIds, options: ForwardOptions): Promise<ForwardResult> {
    const state = this.#newState()
    state.append(ids)
    try {
      return await runForward(this.#scheduler, this.config, state, 0, options)
    } finally {
      state.dispose()
    }
  }

  /** A sequence that keeps its place in the cache. */
  sequence(): Sequence {
    this.#check()
    const sequence = new Sequence(this.#scheduler, this.config, this.#newState(), (s) =>
      this.#sequences.delete(s),
    )
    this.#sequences.add(sequence)
    return sequence
  }

  /**
   * Continues a text. Iterate over the chunks, await the whole result, or both.
   *
   * ```ts
   * for await (const { text } of model.generate('ROMEO:')) process.stdout.write(text)
   * const { text, finishReason } = await model.generate('ROMEO:', { maxNewTokens: 40, temperature: 0.8 })
   * ```
   *
   * It never throws: whatever is wrong rejects. ERR_MOE_CONTEXT_FULL when the prompt alone does not fit the
   * cache.
   *
   * @param prompt text, encoded as the tokenizer says (with BOS where it has one), or token ids
   */
  generate(prompt: string | TokenIds, options: GenerateOptions = {}): Generation {
    const ids = () => {
      this.#check()
      const encoded = this.#encode(prompt)
      checkIds('generate', encoded, this.config.vocabSize)
      return Array.from(encoded)
    }
    return new Generation(ids, options, this.#context)
  }

  #encode(prompt: string | TokenIds): TokenIds {
    if (typeof prompt !== 'string') return prompt
    if (!this.tokenizer)
      badOption('generate', 'prompt', 'token ids, since this model has no tokenizer', prompt)
    const ids = this.tokenizer.encode(prompt)
    if (ids.length === 0) badOption('generate', 'prompt', 'at least one token', prompt)
    return ids
  }

  /**
   * Runs `sequences` as one step, then its plan again `iterations` times, op by op, for benchmarks.
   *
   * @internal
   */
  async profile(sequences: readonly TokenIds[], iterations: number): Promise<PlanTime> {
    await this.forward(sequences)
    return this.#runner.time(iterations)
  }

  /**
   * Frees everything now. Running calls reject with ERR_MOE_DISPOSED; resolves when the engine has left the
   * model. A second call does nothing.
   */
  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose()
    return this.#disposed
  }

  async #dispose(): Promise<void> {
    await this.#scheduler.dispose()
    for (const sequence of this.#sequences) sequence.dispose()
    this.#runner.dispose()
    for (const tensor of this.#tensors) tensor.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  #newState(): SequenceState {
    const hasState = this.config.stateWidths.length > 0
    return new SequenceState(this.#pool, this.#graph.firstVisible.bind(this.#graph), hasState)
  }

  #check(): void {
    if (this.#disposed !== undefined) disposed('model')
  }
}
