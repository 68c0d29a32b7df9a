/** Watches a growing text for stop strings, and holds back what may become one. */
export class StopStrings {
  readonly #stops: readonly string[]
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops
  }

  /**
   * `text` is safe to show now; `held`: there is more, which may still turn out to be the start of a stop string.
   * `stop` is the one that came first.
   */
  push(text: string): { text: string; held: boolean; stop?: string } {
    const all = this.#held + text
    let first: { at: number; stop: string } | undefined
    let keep = 0
    for (const stop of this.#stops) {
      const at = all.indexOf(stop)
      if (at >= 0 && at < (first?.at ?? all.length)) first = { at, stop }
      keep = Math.max(keep, overlap(all, stop))
    }
    this.#held = first ? '' : all.slice(all.length - keep)
    if (first) return { text: all.slice(0, first.at), held: false, stop: first.stop }
    return { text: all.slice(0, all.length - keep), held: keep > 0 }
  }

  /** What was held back and did not become a stop string. */
  end(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }
}

/** Length of the longest end of `text` that starts `stop`. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--)
    if (text.endsWith(stop.slice(0, n))) return n
  return 0
}
