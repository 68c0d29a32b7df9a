const width = 24

/** Size in the unit that people say. */
export function size(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3))
  return `${(bytes / 1000 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`
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
  return {
    update(done, total) {
      if (done < total && performance.now() - drawnAt < 50) return
      drawnAt = performance.now()
      const filled = Math.round((width * done) / Math.max(total, 1))
      const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
      stream.write(`\r${label} ${bar} ${amount(done)} of ${amount(total)}\x1b[K`)
    },
    [Symbol.dispose]() {
      if (drawnAt > 0) stream.write('\r\x1b[K')
    },
  }
}
