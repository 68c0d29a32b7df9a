import type { LayerRouting } from '../index.ts'

/** How often the tokens behind a prompt chose each expert of each layer, the most chosen first. */
export function routingLines(routing: readonly (LayerRouting | undefined)[], topK: number): string {
  const lines = routing.flatMap((layer, l) => {
    if (!layer) return []
    const counts = new Map<number, number>()
    for (const id of layer.expertIds) counts.set(id, (counts.get(id) ?? 0) + 1)
    const best = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 5)
    const tokens = layer.expertIds.length / topK
    const chosen = best.map(([id, times]) => `expert ${id} ${times}x`).join(', ')
    return [
      `layer ${l}: ${chosen || 'nothing'}${counts.size > best.length ? ', …' : ''} (${tokens} tokens)\n`,
    ]
  })
  return lines.join('')
}
