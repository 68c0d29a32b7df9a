import type { GenerateResult } from '../engine/completion.ts'
import type { RoutingStats } from '../engine/routing_stats.ts'
import type { Model } from '../model.ts'
import { readVersion } from '../version.ts'
import type { Exchange, Served } from './exchange.ts'
import { Counter, Exposition, Histogram, type Labels } from './prometheus.ts'

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]
const gaps = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10]
const tokens = Array.from({ length: 18 }, (_, i) => 2 ** i)

/** What histograms count, with vLLM's names behind the prefix. */
const histograms = {
  time_to_first_token_seconds: ['From a request to its first token.', seconds],
  inter_token_latency_seconds: ['From a token to the next one of the same text.', gaps],
  e2e_request_latency_seconds: ['From a request to the end of a text.', seconds],
  request_queue_time_seconds: ['Until a text got room.', seconds],
  request_prefill_time_seconds: ['From then to the first token.', seconds],
  request_decode_time_seconds: ['From the first token to the last.', seconds],
  request_prompt_tokens: ['Tokens of a prompt.', tokens],
  request_generation_tokens: ['New tokens of a text.', tokens],
} as const

/** Families that vLLM has as well, whose names some routers read. */
const ofVllm = [
  ...['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc'],
  ...['prefix_cache_queries_total', 'prefix_cache_hits_total', 'num_preemptions_total'],
  ...['prompt_tokens_total', 'generation_tokens_total', 'request_success_total'],
  ...Object.keys(histograms),
]
const vllmNames = new Map(ofVllm.map((name) => [`moe_${name}`, `vllm:${name}`]))

const version = readVersion()

/** What the server counts itself; the rest is asked of the model at each scrape. */
export class Metrics {
  readonly requests = new Counter()
  readonly rejected = new Counter()
  readonly #durations = new Map<string, Histogram>()
  readonly #ended = new Counter()
  readonly #histograms = Object.fromEntries(
    Object.entries(histograms).map(([name, [, bounds]]) => [name, new Histogram(bounds)]),
  ) as Record<keyof typeof histograms, Histogram>

  /** A request has ended. */
  request(route: string, method: string, status: number, ms: number): void {
    this.requests.add({ route, method, status })
    const durations = this.#durations.get(route) ?? new Histogram(seconds)
    this.#durations.set(route, durations)
    durations.observe(ms / 1000)
  }

  /** Times one text's tokens: call what it returns for each of them. */
  text(): (now?: number) => void {
    let last = performance.now()
    let first = true
    return (now = performance.now()) => {
      const ms = now - last
      last = now
      if (first) this.#histograms.time_to_first_token_seconds.observe(ms / 1000)
      else this.#histograms.inter_token_latency_seconds.observe(ms / 1000)
      first = false
    }
  }

  /** A text has ended well. */
  ended({ finishReason, usage, timings }: GenerateResult): void {
    const { promptMs, queuedMs, generationMs } = timings
    const all = this.#histograms
    this.#ended.add({ finished_reason: finishReason })
    all.e2e_request_latency_seconds.observe((promptMs + generationMs) / 1000)
    all.request_queue_time_seconds.observe(queuedMs / 1000)
    all.request_prefill_time_seconds.observe((promptMs - queuedMs) / 1000)
    all.request_decode_time_seconds.observe(generationMs / 1000)
    all.request_prompt_tokens.observe(usage.promptTokens)
    all.request_generation_tokens.observe(usage.completionTokens)
  }

  /** A text has not. */
  failed(reason: 'abort' | 'error'): void {
    this.#ended.add({ finished_reason: reason })
  }

  write(out: Exposition): void {
    const counter = (name: string, help: string, { samples }: Counter) =>
      out.samples('counter', `moe_${name}`, help, samples)
    counter('http_requests_total', 'Requests that have ended.', this.requests)
    counter('requests_rejected_total', 'Requests that were refused.', this.rejected)
    counter('request_success_total', 'Texts that have ended.', this.#ended)
    const durations = [...this.#durations].flatMap(([route, histogram]) =>
      histogram.lines('moe_http_request_duration_seconds', { route }),
    )
    const name = 'moe_http_request_duration_seconds'
    out.family('histogram', name, 'From a request to the end of its answer.', durations)
    for (const [name, [help]] of Object.entries(histograms)) {
      const histogram = this.#histograms[name as keyof typeof histograms]
      out.family('histogram', `moe_${name}`, help, histogram.lines(`moe_${name}`))
    }
  }
}

function writeModel(out: Exposition, { stats, weights }: Model): void {
  const { running, waiting, preemptions, prefix, blocks, tokens, lastStep } = stats
  const { size, free, cached, evictions } = blocks
  const gauge = (name: string, help: string, value: number) =>
    out.value('gauge', `moe_${name}`, help, value)
  const counter = (name: string, help: string, value: number) =>
    out.value('counter', `moe_${name}`, help, value)
  gauge('num_requests_running', 'Texts that take part in steps.', running)
  gauge('num_requests_waiting', 'Texts that wait for room.', waiting)
  gauge('kv_cache_usage_perc', 'Share of the blocks that a text uses.', 1 - free / size)
  gauge('kv_blocks', 'Blocks of 32 tokens.', size)
  gauge('kv_blocks_cached', 'Blocks without a text that beginnings may use.', cached)
  counter('kv_blocks_evicted_total', 'Cached blocks whose place was needed.', evictions)
  counter('num_preemptions_total', 'Texts that made room for an older one.', preemptions)
  counter('prefix_cache_queries_total', 'Prompt tokens looked up.', prefix.queries)
  counter('prefix_cache_hits_total', 'Prompt tokens that were cached.', prefix.hits)
  counter('prompt_tokens_total', 'Prompt tokens processed.', tokens.prompt)
  counter('generation_tokens_total', 'Tokens processed behind prompts.', tokens.decode)
  gauge('weights_bytes', 'What the weights take.', sum(weights.map(({ bytes }) => bytes)))
  const kinds = Object.entries(stats.stepsByKind)
  const steps = kinds.map(([kind, { steps }]) => [{ kind }, steps] as const)
  const times = kinds.map(([kind, { ms }]) => [{ kind }, ms / 1000] as const)
  out.samples('counter', 'moe_steps_total', 'Steps that have ended.', steps)
  out.samples('counter', 'moe_step_seconds_total', 'Time that they took.', times)
  gauge('last_step_seconds', 'Time of the last step.', (lastStep?.ms ?? 0) / 1000)
  if (!lastStep) return
  const at = (performance.timeOrigin + lastStep.endedAt) / 1000
  gauge('last_step_timestamp_seconds', 'When it ended.', at)
}

const sum = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0)

/** Slots are places that a token has for experts, K a layer: those that are not ffn are saved. */
function writeExperts(out: Exposition, { layers }: RoutingStats): void {
  const all: [Labels, number][] = []
  const skew: [Labels, number][] = []
  const slots = new Map<string, number>()
  for (const [layer, stats] of layers.entries()) {
    if (!stats) continue
    for (const [expert, n] of stats.tokensPerExpert.entries()) {
      const kind = stats.kinds[expert]!
      all.push([{ layer, expert, kind }, n])
      slots.set(kind, (slots.get(kind) ?? 0) + n)
    }
    const ffn = [...stats.tokensPerExpert].filter((_, e) => stats.kinds[e] === 'ffn')
    const mean = sum(ffn) / ffn.length
    if (mean > 0) skew.push([{ layer }, Math.max(...ffn) / mean])
  }
  const kinds = [...slots].map(([kind, n]) => [{ kind }, n] as const)
  const [tokens, load] = ['moe_expert_tokens_total', 'moe_expert_load_max_over_mean']
  out.samples('counter', tokens, 'Tokens that each expert was chosen for.', all)
  out.samples('counter', 'moe_expert_slots_total', 'Slots that went to each kind of expert.', kinds)
  out.samples('gauge', load, 'The busiest FFN expert of a layer against their mean.', skew)
}

/** GET /metrics, in Prometheus' text format. */
export async function metrics(exchange: Exchange, served: Served): Promise<void> {
  const { model, name, metrics, vllmMetrics } = served
  const out = new Exposition({ model_name: name }, vllmMetrics ? vllmNames : undefined)
  out.value('gauge', 'moe_build_info', 'What runs here.', 1, { version })
  writeModel(out, model)
  metrics.write(out)
  writeExperts(out, await model.routingStats())
  exchange.response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  exchange.response.end(out.text)
}

/** GET /version */
export function showVersion(exchange: Exchange): void {
  exchange.send(200, { version })
}
