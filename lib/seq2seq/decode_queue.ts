import { maxSequences, type SampleRequest } from '../engine/chunk.ts'
import type { DecodeResult, Seq2SeqRunner, TextState } from './runner.ts'

interface Asked {
  text: TextState
  sample: SampleRequest
  routing: boolean
  resolve(result: DecodeResult): void
  reject(error: unknown): void
}

/** Steps of texts that are being written: whoever waits is in the next one. */
export class DecodeQueue {
  readonly #runner: Seq2SeqRunner
  readonly #asked: Asked[] = []
  #running = false

  constructor(runner: Seq2SeqRunner) {
    this.#runner = runner
  }

  /**
   * Passes the tokens of `text` and samples the one behind them.
   *
   * @param routing tell it, too
   */
  next(text: TextState, sample: SampleRequest, routing: boolean): Promise<DecodeResult> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ text, sample, routing, resolve, reject })
      if (!this.#running) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#asked.length > 0) {
      const step = this.#asked.splice(0, maxSequences)
      const texts = step.map(({ text }) => text)
      const samples = step.map(({ sample }) => sample)
      const wish = { routing: step.some(({ routing }) => routing), hiddenStates: false }
      try {
        const results = await this.#runner.decode(texts, { samples, ...wish })
        for (const [i, { resolve }] of step.entries()) resolve(results[i]!)
      } catch (error) {
        for (const { reject } of step) reject(error)
      }
      await new Promise(setImmediate) // whoever goes on is in the next step, too
    }
    this.#running = false
  }
}
