import type { Exchange, Served } from './exchange.ts'

/** How often requests ended how, by route and status. */
export class RequestCounts {
  readonly #counts = new Map<string, number>()

  add(route: string, status: number): void {
    const key = `route="${route}",status="${status}"`
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  lines(name: string): string[] {
    return [...this.#counts].map(([labels, n]) => `${name}{${labels}} ${n}`)
  }
}

/** GET /metrics, in Prometheus' text format. */
export function metrics(exchange: Exchange, { model }: Served, requests: RequestCounts): void {
  const { running, waiting, preemptions, prefix, blocks, steps, tokens, lastStep } = model.stats
  const { size, free, cached, evictions } = blocks
  const out: string[] = []
  const metric = (type: 'gauge' | 'counter', name: string, help: string, value: number) =>
    out.push(`# HELP moe_${name} ${help}`, `# TYPE moe_${name} ${type}`, `moe_${name} ${value}`)
  metric('gauge', 'num_requests_running', 'Texts that take part in steps.', running)
  metric('gauge', 'num_requests_waiting', 'Texts that wait for room.', waiting)
  metric('gauge', 'kv_cache_usage_perc', 'Share of the blocks that a text uses.', 1 - free / size)
  metric('gauge', 'kv_blocks', 'Blocks of 32 tokens.', size)
  metric('gauge', 'kv_blocks_cached', 'Blocks without a text that beginnings may use.', cached)
  metric('counter', 'kv_blocks_evicted_total', 'Cached blocks whose place was needed.', evictions)
  metric('counter', 'num_preemptions_total', 'Texts that made room for an older one.', preemptions)
  metric('counter', 'prefix_cache_queries_total', 'Prompt tokens looked up.', prefix.queries)
  metric('counter', 'prefix_cache_hits_total', 'Prompt tokens that were cached.', prefix.hits)
  metric('counter', 'prompt_tokens_total', 'Prompt tokens processed.', tokens.prompt)
  metric('counter', 'generation_tokens_total', 'Tokens processed behind prompts.', tokens.decode)
  metric('counter', 'steps_total', 'Steps that have ended.', steps)
  metric('gauge', 'last_step_seconds', 'Time of the last step.', (lastStep?.ms ?? 0) / 1000)
  out.push('# HELP moe_http_requests_total Requests that have ended.')
  out.push('# TYPE moe_http_requests_total counter', ...requests.lines('moe_http_requests_total'))
  exchange.response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  exchange.response.end(`${out.join('\n')}\n`)
}
