import { Matchers } from '../constraints/matchers.ts'
import type { CheckpointDefaults } from '../engine/checkpoint_defaults.ts'
import { Completion, type GenerateChunk, type GenerateResult } from '../engine/completion.ts'
import {
  beginChoice,
  encodePrompt,
  type GenerateRequest,
  readPrompt,
  resolveGenerateOptions,
} from '../engine/generate.ts'
import { Generation } from '../engine/generation.ts'
import type { SamplingOptions } from '../engine/sampling.ts'
import { lastRow, TraceRows } from '../engine/trace.ts'
import { disposed, MoeError, notFinite } from '../errors.ts'
import { LoadedModel, type LoadedParts } from '../loaded_model.ts'
import type { Tensor, Weight } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import { checkOptions, type TokenIds } from '../options.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { BlockList } from './block_list.ts'
import type { Seq2SeqConfig } from './config.ts'
import { DecodeQueue } from './decode_queue.ts'
import type { EncoderDecoder } from './encoder_decoder.ts'
import {
  isOneText,
  readInputs,
  readTexts,
  readTraceOptions,
  type Seq2SeqGenerateOptions,
  type Seq2SeqInput,
  seq2seqGenerateNames,
  type TraceOptions,
} from './options.ts'
import { type RunnerOptions, Seq2SeqRunner, type TextState } from './runner.ts'
import { spokenStream } from './spoken.ts'
import type { StackTrace } from './trace.ts'

/** What the encoder makes of a text of S tokens. */
export interface Encoding extends StackTrace {
  /** [S, H], behind the last norm */
  hidden: Float32Array
}

/** What one pass gives for T tokens of the decoder. */
export interface Seq2SeqForwardResult {
  /** [T, V] */
  logits: Float32Array
  encoder: Encoding
  decoder: StackTrace
}

/** @internal What loadModel hands over. */
export interface Seq2SeqParts
  extends LoadedParts,
    Pick<RunnerOptions, 'threads' | 'numBlocks' | 'deterministic' | 'lowRank'> {
  graph: EncoderDecoder
  tokenizer: Tokenizer | undefined
  stopIds: number[]
  checkpointDefaults: CheckpointDefaults
  tensors: (Tensor | Weight)[]
}

/** Tokens of a pass of many texts; a text by itself may be longer. */
const passTokens = { cpu: 1024, gpu: 8192 }

const blocksFor = (tokens: number): number => Math.ceil(tokens / blockTokens)

/** An encoder-decoder: reads a text as a whole, and writes another. Made by `loadModel`. */
export class Seq2SeqModel extends LoadedModel {
  readonly config: Seq2SeqConfig
  /** Tokens that fit the cache, over all calls: a call takes its text's and those that it may write. */
  readonly maxTokens: number
  /** Absent when the folder has no tokenizer; ids work all the same. */
  readonly tokenizer: Tokenizer | undefined
  /** What the checkpoint asks for where a call says nothing. */
  readonly generationDefaults: Readonly<SamplingOptions & { maxNewTokens?: number | undefined }>
  readonly #parts: Seq2SeqParts
  readonly #runner: Seq2SeqRunner
  readonly #queue: DecodeQueue
  readonly #blocks: BlockList
  readonly #running = new Set<Promise<unknown>>()
  readonly #ended = new AbortController()
  #matchers: Matchers | undefined
  #disposed: Promise<void> | undefined

  /** @internal */
  constructor(parts: Seq2SeqParts) {
    super(parts)
    const { graph, tokenizer, device, numBlocks } = parts
    this.config = graph.config
    this.maxTokens = numBlocks * blockTokens
    this.tokenizer = tokenizer
    const { stop: _, unsupported: __, ...generationDefaults } = parts.checkpointDefaults
    this.generationDefaults = generationDefaults
    this.#parts = parts
    const { vocabSize } = graph.config
    const vocabulary = Math.min(tokenizer?.size ?? vocabSize, vocabSize)
    this.#runner = new Seq2SeqRunner(graph, { ...parts, gpu: device.gpu, vocabulary })
    this.#queue = new DecodeQueue(this.#runner)
    this.#blocks = new BlockList(numBlocks)
  }

  /**
   * The encoder's output for a text, or for each of a list, which run as ragged batches: a text's result does not
   * depend on its neighbours.
   *
   * @param text encoded as the tokenizer says, with the id that ends an input, or token ids as they are
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_CONTEXT_FULL, ERR_MOE_DISPOSED
   */
  encode(text: string | TokenIds, options?: TraceOptions): Promise<Encoding>
  encode(texts: readonly (string | TokenIds)[], options?: TraceOptions): Promise<Encoding[]>
  async encode(
    texts: string | TokenIds | readonly (string | TokenIds)[],
    options: TraceOptions = {},
  ): Promise<Encoding | Encoding[]> {
    this.#check()
    const wish = readTraceOptions('encode', options)
    const read = readTexts(texts, (one) => readPrompt(one, this.#context))
    const signals = [this.#ended.signal]
    const work = async () => {
      const ids = await Promise.all(
        read.map((one) => (typeof one === 'string' ? this.#encodeText(one, signals) : one)),
      )
      const inputs = ids.map((source) => ({ source, ids: [] }))
      const pass = { ...wish, hidden: true, keep: false }
      return this.#inPasses('encode', inputs, (states) => this.#runner.encode(states, pass))
    }
    const results = (await this.#track(work())) as Encoding[]
    return isOneText(texts) ? results[0]! : results
  }

  /**
   * One pass of encoder and decoder without sampling, for one input or a list. Experts' capacities count over all
   * tokens of an input's pass, so that with many tokens some may be dropped that are served one by one.
   *
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_CONTEXT_FULL, ERR_MOE_DISPOSED
   */
  forward(input: Seq2SeqInput, options?: TraceOptions): Promise<Seq2SeqForwardResult>
  forward(inputs: readonly Seq2SeqInput[], options?: TraceOptions): Promise<Seq2SeqForwardResult[]>
  async forward(
    inputs: Seq2SeqInput | readonly Seq2SeqInput[],
    options: TraceOptions = {},
  ): Promise<Seq2SeqForwardResult | Seq2SeqForwardResult[]> {
    this.#check()
    const wish = readTraceOptions('forward', options)
    const read = readInputs(inputs, this.config.vocabSize)
    const work = this.#inPasses('forward', read, async (states) => {
      const encoded = await this.#runner.encode(states, { ...wish, hidden: true, keep: true })
      const decoded = await this.#runner.decode(states, wish)
      return decoded.map(({ logits, ...decoder }, i) => ({
        ...{ logits: logits!, encoder: encoded[i] as Encoding, decoder },
      }))
    })
    const results = await this.#track(work)
    return Array.isArray(inputs) ? results : results[0]!
  }

  /**
   * Writes what follows from a text. Iterate over the chunks, await the whole result, or both. Texts that are written
   * at the same time share steps.
   *
   * ```ts
   * const { text } = await model.generate('A <extra_id_0> walks into a bar and orders a <extra_id_1>.')
   * ```
   *
   * Sentinels such as `<extra_id_0>` are part of the answer. It never throws: whatever is wrong rejects, with
   * ERR_MOE_CONTEXT_FULL when the text does not fit the cache.
   *
   * @param prompt text, encoded as the tokenizer says, or token ids as they are
   */
  generate(prompt: string | TokenIds, options: Seq2SeqGenerateOptions = {}): Generation {
    return new Generation((emit, left) => this.#track(this.#generate(prompt, options, emit, left)))
  }

  async #generate(
    prompt: string | TokenIds,
    options: Seq2SeqGenerateOptions,
    emit: (chunk: GenerateChunk) => void,
    left: AbortSignal,
  ): Promise<GenerateResult> {
    this.#check()
    checkOptions('generate', options, seq2seqGenerateNames)
    const context = this.#context
    const own = readPrompt(prompt, context)
    const request = resolveGenerateOptions(options, context)
    const { decoderStartId } = this.config
    if (decoderStartId === undefined)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        'generate: decoder_start_token_id of config.json must be there, got nothing',
      )
    const signals = [...(request.signal ? [request.signal] : []), left, this.#ended.signal]
    for (const signal of signals) signal.throwIfAborted()
    const source = typeof own === 'string' ? await this.#encodeText(own, signals) : own
    const room = (this.#blocks.size - blocksFor(source.length)) * blockTokens
    if (room <= 0) this.#tooLong('generate', source.length + 1)
    // The last new token is not passed, but the start is.
    const maxNewTokens = Math.min(request.maxNewTokens, room)
    const begun = performance.now()
    const input = { source, ids: [decoderStartId], target: maxNewTokens }
    const [state] = (await this.#place([input], signals)) as [TextState]
    try {
      const wish = { keep: true, hidden: false, routing: false, hiddenStates: false }
      await this.#runner.encode([state], wish)
      return await this.#write(state, { ...request, maxNewTokens }, signals, emit, begun)
    } finally {
      this.#release([state])
    }
  }

  /** One token after the other, until the text ends. */
  async #write(
    state: TextState,
    request: GenerateRequest,
    signals: readonly AbortSignal[],
    emit: (chunk: GenerateChunk) => void,
    begun: number,
  ): Promise<GenerateResult> {
    const { sampling, top, minNewTokens } = request
    const routed = request.routing !== false
    const choice = await beginChoice(request, this.#context, [...signals])
    const stream = this.tokenizer && spokenStream(this.tokenizer, state.ids[0]!)
    const limits = { ...request, reserveTokens: request.maxNewTokens }
    const completion = new Completion(state.source.length, limits, stream, emit)
    completion.admittedAt = begun
    const trace = new TraceRows(this.#parts.graph.decoder.length)
    try {
      for (;;) {
        for (const signal of signals) signal.throwIfAborted()
        const step = completion.ids.length
        const mask = step < minNewTokens ? choice.maskWithoutEnds : choice.mask
        const sample = { sampling, step, promptLength: 1, top, mask }
        const { sampled, routing = [] } = await this.#queue.next(state, sample, routed)
        const { id, nonFinite } = sampled!
        if (nonFinite >= 0) {
          const where = `logits at position ${step}`
          notFinite('generate', where, `NaN or infinity for token id ${nonFinite}`)
        }
        if (routed) trace.add({ routing }, 0, 1)
        if (!completion.accept(sampled!, routed ? lastRow(routing, 1) : undefined)) break
        state.ids.push(id)
        if (!choice.constrained) continue
        await choice.accept(id)
        if (!choice.whole) continue
        completion.finish()
        break
      }
      return { ...completion.result(), ...(routed && { routing: trace.routing() }) }
    } finally {
      choice.end()
    }
  }

  /** Frees everything when the passes under way have ended; calls under way reject with ERR_MOE_DISPOSED. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose()
    return this.#disposed
  }

  async #dispose(): Promise<void> {
    try {
      disposed('model')
    } catch (error) {
      this.#ended.abort(error)
    }
    this.#matchers?.dispose()
    await Promise.allSettled(this.#running)
    this.#runner.dispose()
    for (const tensor of this.#parts.tensors) tensor.release()
  }

  #check(): void {
    if (this.#disposed !== undefined) disposed('model')
  }

  get #context() {
    const { graph, stopIds, checkpointDefaults, tokenizer } = this.#parts
    const { vocabSize } = graph.config
    const matchers = () => this.#grammars()
    return { vocabSize, stopIds, checkpointDefaults, tokenizer, matchers, layers: graph.decoder }
  }

  /** Made with the first constraint. */
  #grammars(): Matchers {
    this.#check()
    this.#matchers ??= Matchers.of(this.tokenizer, this.config.vocabSize)
    return this.#matchers
  }

  #encodeText(text: string, signals: AbortSignal[]): Promise<number[]> {
    return encodePrompt(text, false, this.#context, signals)
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work)
    const forget = () => this.#running.delete(work)
    work.then(forget, forget)
    return work
  }

  #tooLong(where: string, tokens: number): never {
    throw new MoeError(
      'ERR_MOE_CONTEXT_FULL',
      `${where}: text and what is written of it must fit ${this.maxTokens} tokens in blocks of ${blockTokens} (maxTokens of loadModel), got ${tokens}`,
    )
  }

  #release(states: readonly TextState[]): void {
    this.#blocks.give(
      states.flatMap(({ sourceBlocks, targetBlocks }) => [...sourceBlocks, ...targetBlocks]),
    )
  }

  /** As many inputs at a time as a pass takes and the cache has room for. */
  async #inPasses<T>(
    where: string,
    given: readonly Omit<Input, 'target'>[],
    pass: (states: TextState[]) => Promise<T[]>,
  ): Promise<T[]> {
    const inputs = given.map((input) => ({ ...input, target: input.ids.length }))
    const blocksOf = ({ source, target }: Input) => blocksFor(source.length) + blocksFor(target)
    const { size } = this.#blocks
    for (const input of inputs)
      if (blocksOf(input) > size) this.#tooLong(where, input.source.length + input.target)
    const most = passTokens[this.#parts.device.gpu ? 'gpu' : 'cpu']
    const results: T[] = []
    for (let first = 0, end: number; first < inputs.length; first = end) {
      let [tokens, blocks] = [0, 0]
      for (end = first; end < inputs.length; end++) {
        const input = inputs[end]!
        tokens += input.source.length + input.target
        blocks += blocksOf(input)
        if (end > first && (tokens > most || blocks > size)) break
      }
      const states = await this.#place(inputs.slice(first, end), [this.#ended.signal])
      try {
        results.push(...(await pass(states)))
      } finally {
        this.#release(states)
      }
    }
    return results
  }

  /** Room for texts, taken at once, so that two calls never wait for each other's blocks. */
  async #place(inputs: readonly Input[], signals: readonly AbortSignal[]): Promise<TextState[]> {
    const counts = inputs.map(({ source, target }) => [source.length, target].map(blocksFor))
    const total = counts.flat().reduce((n, count) => n + count, 0)
    const blocks = await this.#blocks.take(total, signals)
    return inputs.map(({ source, ids }, i) => {
      const [sourceBlocks, targetBlocks] = counts[i]!.map((count) => blocks.splice(0, count))
      return { source, ids, passed: 0, sourceBlocks: sourceBlocks!, targetBlocks: targetBlocks! }
    })
  }
}

/** What a call reads, what the decoder begins with, and the tokens that it may have in the end. */
interface Input {
  source: number[]
  ids: number[]
  target: number
}
