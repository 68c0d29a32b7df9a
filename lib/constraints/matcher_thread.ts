import { Worker } from 'node:worker_threads'
import { TaskError, ThreadEnded } from './thread_errors.ts'

interface Answer {
  id: number
  mask?: Int32Array
  error?: string
  /** It answers nothing more. */
  broken?: boolean
}

/** A message to the thread; the numbers name grammars and matchers. */
export type Task =
  | { task: 'compile'; grammar: number; text: string }
  | { task: 'forget'; grammar: number }
  | { task: 'begin'; matcher: number; grammar: number; ids: readonly number[] }
  | { task: 'accept'; matcher: number; id: number }
  | { task: 'end'; matcher: number }

/** A thread of grammars. It does not keep the process alive unless somebody waits. */
export class MatcherThread {
  readonly #worker: Worker
  readonly #waiting = new Map<number, (answer: Answer | Error) => void>()
  #nextId = 0
  #ended: Error | undefined
  /** Resolves when it takes tasks. */
  readonly ready: Promise<void>

  /** @param tokens in GPT-2's letters for bytes; empty ones are never allowed, the last stands for the end */
  constructor(tokens: readonly string[]) {
    const file = new URL('./matcher_worker.js', import.meta.url)
    this.#worker = new Worker(file, { workerData: { tokens }, stdout: true, stderr: true })
    this.#worker.on('message', (answer: Answer) => this.#answered(answer))
    this.#worker.on('error', (error) => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new ThreadEnded()))
    this.ready = this.#answer(this.#nextId++).then(() => {})
    this.ready.catch(() => {})
  }

  /** A mask where the task has one. */
  async run(task: Task): Promise<Int32Array | undefined> {
    const id = this.#nextId++
    const answer = this.#answer(id)
    const { task: name, ...rest } = task
    if (!this.#ended) this.#worker.postMessage({ id, name, rest })
    return answer
  }

  /** Ends it at once; whoever waits gets ThreadEnded. */
  end(): void {
    this.#fail(new ThreadEnded())
    void this.#worker.terminate()
  }

  #answer(id: number): Promise<Int32Array | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended)
      if (this.#waiting.size === 0) this.#worker.ref()
      this.#waiting.set(id, (answer) => {
        if (answer instanceof Error) reject(answer)
        else if (answer.error !== undefined) reject(new TaskError(answer.error))
        else resolve(answer.mask)
      })
    })
  }

  #answered(answer: Answer): void {
    const take = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (this.#waiting.size === 0) this.#worker.unref()
    take?.(answer)
    if (answer.broken) this.end()
  }

  #fail(error: Error): void {
    this.#ended ??= error
    for (const take of this.#waiting.values()) take(this.#ended)
    this.#waiting.clear()
  }
}
