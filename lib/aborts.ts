interface Watch {
  acts: Set<() => void>
  listener: () => void
}

const watches = new WeakMap<AbortSignal, Watch>()

function watch(signal: AbortSignal): Watch {
  const acts = new Set<() => void>()
  const listener = () => {
    watches.delete(signal)
    for (const act of [...acts]) act()
  }
  signal.addEventListener('abort', listener, { once: true })
  const made = { acts, listener }
  watches.set(signal, made)
  return made
}

/**
 * Calls `act` when `signal` aborts. However many calls share a signal, it has one listener of ours: Node warns of a leak
 * at eleven.
 *
 * @returns takes `act` back
 */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  const { acts, listener } = watches.get(signal) ?? watch(signal)
  acts.add(act)
  return () => {
    acts.delete(act)
    if (acts.size > 0) return
    signal.removeEventListener('abort', listener)
    watches.delete(signal)
  }
}

/** Runs `work` with a signal that aborts when one of `signals` does. AbortSignal.any would leave something in each of them. */
export async function withAny<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const any = new AbortController()
  for (const signal of signals) if (signal.aborted) any.abort(signal.reason)
  const watched = signals.map((signal) => onAbort(signal, () => any.abort(signal.reason)))
  try {
    return await work(any.signal)
  } finally {
    for (const forget of watched) forget()
  }
}
