const width = 24

/** Size in the unit that people say. */
export function size(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3))
  return `${(bytes / 1000 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`
}

/** Seconds in the units that people say. */
export function duration(seconds: number): string {
  if (seconds < 59.5) return `${Math.max(1, Math.round(seconds))} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** Shows how far something has come; disposing it clears the line, whatever the end was. */
export interface ProgressBar extends Disposable {
  update(done: number, total: number): void
}

/** A bar on standard error, where somebody watches; silent in pipes and with --json. */
export function progressBar(
  label: string,
  quiet: boolean,
  stream: Pick<NodeJS.WriteStream, 'isTTY' | 'write'> = process.stderr,
  amount: (n: number) => string = size,
): ProgressBar {
  if (quiet || !stream.isTTY) return { update() {}, [Symbol.dispose]() {} }
  let drawnAt = Number.NEGATIVE_INFINITY
  let first: { at: number; done: number } | undefined
  /** At the mean speed so far, once there is one. */
  const left = (done: number, total: number): string => {
    const now = performance.now()
    first ??= { at: now, done }
    const seconds = (now - first.at) / 1000
    if (seconds < 2 || done === first.done || done >= total) return ''
    return `, ${duration((seconds * (total - done)) / (done - first.done))} left`
  }
  return {
    update(done, total) {
      if (done < total && performance.now() - drawnAt < 50) return
      drawnAt = performance.now()
      const filled = Math.round((width * done) / Math.max(total, 1))
      const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
      stream.write(
        `\r${label} ${bar} ${amount(done)} of ${amount(total)}${left(done, total)}\x1b[K`,
      )
    },
    [Symbol.dispose]() {
      if (drawnAt > 0) stream.write('\r\x1b[K')
    },
  }
}
