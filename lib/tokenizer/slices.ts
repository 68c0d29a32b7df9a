/** Work that can pause: each `yield` is a place where something else may run. */
export type Steps<T> = Generator<void, T, void>

export function runAtOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

const sliceMs = 4
const waiting: (() => void)[] = []

/** One slice a turn of the event loop, whoever waits: many long texts at once block no longer than one. */
function wakeOne(): void {
  waiting.shift()!()
  if (waiting.length > 0) setImmediate(wakeOne)
}

const turn = (): Promise<void> =>
  new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(wakeOne)
  })

/** Runs in slices of some milliseconds with the event loop between them. */
export async function runInSlices<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    await turn()
    signal?.throwIfAborted()
    const end = performance.now() + sliceMs
    do {
      const { done, value } = steps.next()
      if (done) return value
    } while (performance.now() < end)
  }
}
