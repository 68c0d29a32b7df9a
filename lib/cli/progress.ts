const width = 24

/** Size in the unit that people say. */
export function size(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3))
  return `${(bytes / 1000 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`
}

/** A bar on standard error, where somebody watches; silent in pipes and with --json. */
export function progressBar(label: string, quiet: boolean): (done: number, total: number) => void {
  if (quiet || !process.stderr.isTTY) return () => {}
  let shown = 0
  return (done, total) => {
    const finished = done >= total
    if (!finished && performance.now() - shown < 50) return
    shown = performance.now()
    const filled = Math.round((width * done) / Math.max(total, 1))
    const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
    process.stderr.write(
      `\r${label} ${bar} ${size(done)} of ${size(total)}\x1b[K${finished ? '\r\x1b[K' : ''}`,
    )
  }
}
