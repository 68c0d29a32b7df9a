// Prometheus' text format (version 0.0.4): https://prometheus.io/docs/instrumenting/exposition_formats/

export type Labels = Readonly<Record<string, string | number>>

const escaped = (value: string | number): string =>
  String(value).replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))

const inBraces = (labels: Labels): string => {
  const all = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return all.length === 0 ? '' : `{${all.join(',')}}`
}

/** A counter with labels. */
export class Counter {
  readonly #counts = new Map<string, number>()

  add(labels: Labels): void {
    const key = inBraces(labels)
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  get samples(): Iterable<readonly [labels: string, value: number]> {
    return this.#counts
  }
}

/** How often a value was at most each bound; all bounds ascend. */
export class Histogram {
  readonly #bounds: readonly number[]
  /** Of each bound alone, and of what is beyond all. */
  readonly #counts: Float64Array
  #sum = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    let i = 0
    while (i < this.#bounds.length && value > this.#bounds[i]!) i++
    this.#counts[i]!++
    this.#sum += value
  }

  lines(name: string, labels: Labels = {}): string[] {
    let count = 0
    const buckets = [...this.#counts].map((n, i) => {
      count += n
      return `${name}_bucket${inBraces({ ...labels, le: this.#bounds[i] ?? '+Inf' })} ${count}`
    })
    const own = inBraces(labels)
    return [...buckets, `${name}_sum${own} ${this.#sum}`, `${name}_count${own} ${count}`]
  }
}

/** The text of one scrape. */
export class Exposition {
  readonly #lines: string[] = []
  readonly #common: string
  readonly #others: ReadonlyMap<string, string>

  /**
   * @param common labels of all samples
   * @param others families that are there a second time, under another name
   */
  constructor(common: Labels = {}, others: ReadonlyMap<string, string> = new Map()) {
    this.#common = inBraces(common).slice(1, -1)
    this.#others = others
  }

  family(type: 'gauge' | 'counter' | 'histogram', name: string, help: string, lines: string[]) {
    this.#write(type, name, help, lines)
    const other = this.#others.get(name)
    if (other === undefined) return
    const renamed = lines.map((line) => other + line.slice(name.length))
    this.#write(type, other, help, renamed)
  }

  #write(type: string, name: string, help: string, lines: string[]) {
    if (lines.length > 0) this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const line of lines) this.#lines.push(this.#labelled(line))
  }

  value(type: 'gauge' | 'counter', name: string, help: string, value: number, labels: Labels = {}) {
    this.family(type, name, help, [`${name}${inBraces(labels)} ${value}`])
  }

  samples(
    type: 'gauge' | 'counter',
    name: string,
    help: string,
    all: Iterable<readonly [labels: Labels | string, value: number]>,
  ) {
    const labelled = [...all].map(
      ([labels, value]) =>
        `${name}${typeof labels === 'string' ? labels : inBraces(labels)} ${value}`,
    )
    this.family(type, name, help, labelled)
  }

  #labelled(line: string): string {
    if (this.#common === '') return line
    return line.replace(/^([\w:]+)\{?/, (start, name) =>
      start === name ? `${name}{${this.#common}}` : `${name}{${this.#common},`,
    )
  }

  get text(): string {
    return `${this.#lines.join('\n')}\n`
  }
}
