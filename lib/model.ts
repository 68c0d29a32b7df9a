import { withAny } from './aborts.ts'
import type { Adapter, AdapterInfo } from './adapters/adapter.ts'
import { AdapterSet, type LoadAdapterOptions } from './adapters/adapter_set.ts'
import type { CallForm } from './chat/call_forms.ts'
import {
  type ChatFormat,
  type ChatPrompt,
  readChat,
  type TemplateOptions,
  templateOptionNames,
} from './chat/chat_format.ts'
import type { ChatMessage } from './chat/messages.ts'
import { Matchers } from './constraints/matchers.ts'
import { BlockPool } from './engine/blocks.ts'
import { keepsState } from './engine/cache.ts'
import type { GenerateChunk, GenerateOptions, GenerateResult } from './engine/completion.ts'
import {
  type ForwardOptions,
  type ForwardRequest,
  type ForwardResult,
  resolveForwardOptions,
  runForward,
} from './engine/forward.ts'
import {
  type GenerateRequest,
  generateOptionNames,
  readPrompt,
  resolveGenerateOptions,
  runGenerate,
} from './engine/generate.ts'
import { Generation } from './engine/generation.ts'
import { tokensThatReadPays } from './engine/prompt_budget.ts'
import type { RoutingStats, RoutingStatsOptions } from './engine/routing_stats.ts'
import type { SamplingOptions } from './engine/sampling.ts'
import { type ModelStats, Scheduler } from './engine/scheduler.ts'
import {
  Sequence,
  type SequenceContext,
  type SequenceOptions,
  sequenceOptionNames,
} from './engine/sequence.ts'
import { SequenceState } from './engine/sequence_state.ts'
import { StepRunner } from './engine/step_runner.ts'
import { badOption, disposed, MoeError } from './errors.ts'
import { modulesOf } from './layers/projection.ts'
import { LoadedModel } from './loaded_model.ts'
import type { ModelParts } from './model_parts.ts'
import type { Architecture } from './models/architecture.ts'
import type { ModelConfig } from './models/config.ts'
import type { PlanTime, Tensor, Weight } from './native.ts'
import type { OptionNames } from './option_names.ts'
import {
  checkOptions,
  flagOption,
  readIds,
  readList,
  type TokenIds,
  textOption,
} from './options.ts'
import type { Tokenizer } from './tokenizer/index.ts'
import { longestText } from './weights/rope.ts'

/** On a CPU a prompt's tokens take so long that whoever writes would wait seconds. */
const cpuSlowdown = 2.5

/** Options of `model.chat`: those of `generate`, and what the chat template reads. */
export interface ChatOptions
  extends GenerateOptions,
    Omit<TemplateOptions, 'addGenerationPrompt'> {}

const { addGenerationPrompt: _, ...chatTemplateNames } = templateOptionNames
const chatOptionNames: OptionNames<ChatOptions> = { ...generateOptionNames, ...chatTemplateNames }

/**
 * A loaded model. All calls are asynchronous and run off the JavaScript thread; concurrent calls share steps.
 * Made by `loadModel`.
 */
export class Model extends LoadedModel {
  /** config.json, validated and under one set of names. */
  readonly config: ModelConfig
  /** Tokens that fit the cache, over all sequences. */
  readonly maxTokens: number
  /** Absent when the folder has no tokenizer; ids work all the same. */
  readonly tokenizer: Tokenizer | undefined
  /** What the checkpoint asks for where a call says nothing. */
  readonly generationDefaults: Readonly<SamplingOptions & { maxNewTokens?: number | undefined }>
  readonly #graph: Architecture
  readonly #adapters: AdapterSet
  readonly #pool: BlockPool
  readonly #runner: StepRunner
  readonly #scheduler: Scheduler
  readonly #context: SequenceContext
  readonly #chat: ChatFormat | undefined
  readonly #tensors: (Tensor | Weight)[]
  #matchers: Matchers | undefined
  #statsRead: Promise<unknown> = Promise.resolve()
  #disposed: Promise<void> | undefined

  /** @internal */
  constructor(parts: ModelParts) {
    super(parts)
    const { graph, tokenizer } = parts
    this.config = graph.config
    this.maxTokens = parts.maxTokens
    this.tokenizer = tokenizer
    this.#chat = parts.chat
    const { stop: _, unsupported: __, ...generationDefaults } = parts.checkpointDefaults
    this.generationDefaults = generationDefaults
    this.#graph = graph
    this.#tensors = parts.tensors
    this.#pool = new BlockPool(parts.numBlocks)
    const { vocabSize } = graph.config
    const vocabulary = Math.min(tokenizer?.size ?? vocabSize, vocabSize)
    const { gpu } = parts.device
    const modules = parts.lowRank ? [] : modulesOf(graph.layers)
    const adapters = new AdapterSet(modules, gpu)
    this.#adapters = adapters
    const { lowRank } = parts
    this.#runner = new StepRunner(graph, { ...parts, gpu, vocabulary, adapters, lowRank })
    this.#scheduler = new Scheduler(this.#runner, this.#pool, {
      longestText: longestText(graph.config.rope),
      maxWaiting: parts.maxWaiting ?? Number.POSITIVE_INFINITY,
      leastTokens: tokensThatReadPays(graph.layers),
      slowdown: gpu ? Number.POSITIVE_INFINITY : cpuSlowdown,
    })
    const { stopIds, checkpointDefaults } = parts
    this.#context = {
      scheduler: this.#scheduler,
      config: graph.config,
      sequences: new Set(),
      matchers: () => this.#grammars(),
      ...{ layers: graph.layers, vocabSize, stopIds, checkpointDefaults, tokenizer },
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
    const request = resolveForwardOptions(options, this.#graph.layers)
    const read = (one: unknown) => readIds('forward', one, this.config.vocabSize)
    if (!Array.isArray(ids) || typeof ids[0] !== 'object') return this.#forward(read(ids), request)
    const all = readList(ids, read, () => badOption('forward', 'ids', 'a list', ids))
    return Promise.all(all.map((one) => this.#forward(one, request)))
  }

  #forward(ids: number[], request: ForwardRequest): Promise<ForwardResult> {
    const state = this.#newState('', this.#adapters.get('forward', request.adapter))
    state.append(ids, request.experts)
    return runForward(this.#scheduler, this.config, state, 0, request, () => state.dispose())
  }

  /** A sequence that keeps its place in the cache. */
  sequence(options: SequenceOptions = {}): Sequence {
    this.#check()
    checkOptions('sequence', options, sequenceOptionNames)
    const name = textOption('sequence', 'adapter', options.adapter)
    return new Sequence(this.#context, this.#newState('', this.#adapters.get('sequence', name)))
  }

  /**
   * Loads a LoRA adapter as PEFT saves it (adapter_config.json, adapter_model.safetensors), so that calls can name it
   * as `adapter`. Texts with different adapters, and with none, share steps. Its numbers are kept in f32.
   *
   * @param dir the folder: a path or a `file:` URL
   * @throws {MoeError} ERR_MOE_OPTION for a name that is taken, ERR_MOE_CHECKPOINT for an adapter of another base or
   *   rank, naming the tensor, ERR_MOE_UNSUPPORTED for what is not run, by name
   */
  async loadAdapter(dir: string | URL, options: LoadAdapterOptions = {}): Promise<AdapterInfo> {
    this.#check()
    return this.#adapters.load(dir, options)
  }

  /**
   * Takes an adapter out. No call can name it any more; resolves when the texts that use it have ended and its memory
   * is free.
   *
   * @throws {MoeError} ERR_MOE_OPTION where there is none of that name
   */
  async unloadAdapter(name: string): Promise<void> {
    this.#check()
    await this.#adapters.unload(name, () => this.#scheduler.settled())
  }

  /** The adapters that calls can name. */
  get adapters(): AdapterInfo[] {
    return this.#adapters.infos
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
    return new Generation(async (emit, left) => {
      this.#check()
      const own = readPrompt(prompt, this.#context)
      const request = resolveGenerateOptions(options, this.#context)
      return this.#run(own, request, emit, left)
    })
  }

  /**
   * Answers a conversation, which the checkpoint's template turns into a text. An answer ends at the model's
   * end-of-text ids and at what the template puts behind an answer. Otherwise as `generate`.
   *
   * ```ts
   * const messages = [{ role: 'user', content: 'Hello!' }]
   * const { text } = await model.chat(messages)
   * messages.push({ role: 'assistant', content: text }, { role: 'user', content: 'And then?' })
   * ```
   *
   * Whatever is wrong rejects: ERR_MOE_OPTION where the template refuses the messages, ERR_MOE_UNSUPPORTED where
   * there is no template, or it fails, or it knows no tools and there are some.
   *
   * @param messages the turns so far; text in them that looks like a special token stays text
   */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    return new Generation(async (emit, left) => {
      this.#check()
      checkOptions('chat', options, chatOptionNames)
      const { tools, continueFinalMessage, chatTemplate, templateVariables, ...rest } = options
      const template = { tools, continueFinalMessage, chatTemplate, templateVariables }
      const asked = readChat('chat', messages, template)
      const request = resolveGenerateOptions(rest, this.#context)
      const format = this.#chatFormat('chat')
      const signals = request.signal ? [request.signal, left] : [left]
      const { ids } = await withAny(signals, (signal) => format.prompt('chat', asked, signal))
      const own = readIds('chat', ids, this.config.vocabSize)
      const stops = request.ownEnds ? await format.stopIds('chat', asked) : []
      const stopIds = new Map([...request.stopIds, ...stops.map((id) => [id, id] as const)])
      this.#check()
      return this.#run(own, { ...request, stopIds }, emit, left)
    })
  }

  /**
   * What `chat` gives the model to read.
   *
   * @throws {MoeError} as `chat`
   */
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options: TemplateOptions = {},
  ): Promise<ChatPrompt> {
    this.#check()
    checkOptions('applyChatTemplate', options, templateOptionNames)
    const asked = readChat('applyChatTemplate', messages, options)
    const format = this.#chatFormat('applyChatTemplate')
    return format.prompt('applyChatTemplate', asked, new AbortController().signal)
  }

  /**
   * How calls of tools stand in answers, `tags` for `<tool_call>{"name": …, "arguments": {…}}</tool_call>`; undefined where
   * nothing is known.
   *
   * @internal
   * @throws {MoeError} ERR_MOE_UNSUPPORTED without a chat template
   */
  async toolCallForm(): Promise<CallForm | undefined> {
    this.#check()
    return this.#chatFormat('toolCallForm').callForm('toolCallForm')
  }

  /** Made with the first constraint. */
  #grammars(): Matchers {
    this.#check()
    this.#matchers ??= Matchers.of(this.tokenizer, this.config.vocabSize)
    return this.#matchers
  }

  #chatFormat(where: string): ChatFormat {
    if (this.#chat) return this.#chat
    const message = `${where}: model must have a tokenizer, got none`
    throw new MoeError('ERR_MOE_UNSUPPORTED', message)
  }

  /** What the model is doing and has done. */
  get stats(): ModelStats {
    return this.#scheduler.stats
  }

  /**
   * How often each expert was chosen, over all calls since the model was loaded or the last `reset`. Counted on the
   * device, which costs next to nothing. A token counts as often as it is computed: also where it is computed again
   * for the cache, or ahead of the end of a text and dropped.
   *
   * @param options `reset`: the next numbers begin at 0
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_DISPOSED
   */
  async routingStats(options: RoutingStatsOptions = {}): Promise<RoutingStats> {
    this.#check()
    checkOptions('routingStats', options, { reset: true })
    const reset = flagOption('routingStats', 'reset', options.reset)
    const stats = this.#runner.routingStats(reset)
    this.#statsRead = Promise.allSettled([this.#statsRead, stats])
    return stats
  }

  /**
   * Runs `sequences` as one step, then its plan again `iterations` times, op by op, for benchmarks. On a GPU each op is
   * then launched and waited for by itself, which adds some 10 microseconds to each and keeps kernels from overlapping:
   * times of a decode step are those of `generate`, of its kernels those of `moe-native bench` or of a profiler.
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
    this.#matchers?.dispose()
    await this.#scheduler.dispose()
    await this.#statsRead
    for (const sequence of this.#context.sequences) sequence.dispose()
    this.#runner.dispose()
    this.#adapters.dispose()
    for (const tensor of this.#tensors) tensor.release()
  }

  #newState(salt: string, adapter: Adapter | undefined): SequenceState {
    const { visibility, layers } = this.#graph
    return new SequenceState(this.#pool, visibility, keepsState(layers), salt, adapter)
  }

  async #run(
    prompt: string | number[],
    request: GenerateRequest,
    emit: (chunk: GenerateChunk) => void,
    left: AbortSignal,
  ): Promise<GenerateResult> {
    const adapter = this.#adapters.get('generate', request.adapter)
    const state = this.#newState(request.cacheSalt, adapter)
    const close = () => state.dispose()
    try {
      return await runGenerate(this.#context, state, prompt, request, emit, left, close)
    } finally {
      close() // also what failed before there was work
    }
  }

  #check(): void {
    if (this.#disposed !== undefined) disposed('model')
  }
}
