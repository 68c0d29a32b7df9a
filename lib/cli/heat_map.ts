import { type Markup, markup } from './markup.ts'
import type { LayerReport } from './routing_tally.ts'

interface Cell {
  value: number
  text: string
  kind: LayerReport['kinds'][number]
}

interface Named {
  name: string
  short: string
}

export interface Heat {
  id: string
  caption: string
  /** Name of what the rows are. */
  corner: string
  columns: Named[]
  /** A cell that is undefined is not there at all. */
  rows: (Named & { cells: (Cell | undefined)[] })[]
  axis: string
  /** The palest cell is the least value, and not 0. */
  fromLeast?: boolean
  tell: string
}

/** One for each row or column, but those without room are empty. */
function labels(className: string, all: readonly Named[], most: number): Markup {
  const step = Math.ceil(all.length / most)
  const items = all.map(({ short }, i) => markup`<li>${i % step === 0 ? short : ''}</li>`)
  return markup`<ol class="${className}" aria-hidden="true">${items}</ol>`
}

/** The cells with the least and the largest value. */
function ends({ rows }: Heat): { least: Cell; most: Cell } {
  const all = rows.flatMap((row) => row.cells.flatMap((cell) => cell ?? []))
  const sorted = all.sort((a, b) => a.value - b.value)
  return { least: sorted[0]!, most: sorted.at(-1)! }
}

function cells(heat: Heat): Markup[] {
  const { columns, rows, fromLeast } = heat
  const { least, most } = ends(heat)
  const from = fromLeast ? least.value : 0
  const range = most.value - from || 1
  const [width, height] = [columns.length > 100 ? 1 : 0.94, rows.length > 40 ? 1 : 0.9]
  const size = markup` width="${width}" height="${height}"`
  return rows.flatMap(({ cells }, y) =>
    cells.flatMap((cell, x) => {
      if (!cell) return []
      const at = markup`x="${x}" y="${y}"${size}`
      const opacity = (0.12 + (0.88 * (cell.value - from)) / range).toFixed(2)
      const full =
        cell.value === 0
          ? []
          : [markup`<rect class="${cell.kind}" fill-opacity="${opacity}" ${at}/>`]
      return [markup`<rect class="empty" ${at}/>`, ...full, markup`\n`]
    }),
  )
}

/** A map of cells, the darker the more, and the same numbers as a table. */
export function heatMap(heat: Heat): Markup {
  const { id, caption, corner, columns, rows, axis, fromLeast, tell } = heat
  const { least, most } = ends(heat)
  const scale = `pale is ${fromLeast ? least.text : '0'}, full colour ${most.text}`
  const rowHeight = Math.max(5, Math.min(34, Math.round(420 / rows.length)))
  const height = rowHeight * rows.length
  const head = columns.map(({ name }) => markup`<th scope="col">${name}</th>`)
  const body = rows.map(
    ({ name, cells }) =>
      markup`<tr><th scope="row">${name}</th>${cells.map((cell) => markup`<td>${cell?.text ?? '–'}</td>`)}</tr>\n`,
  )
  return markup`<div class="heat">
${labels('down', rows, Math.floor(height / 14))}
<svg class="map" viewBox="0 0 ${columns.length} ${rows.length}" height="${height}" preserveAspectRatio="none" tabindex="0" role="img" aria-label="${caption}; the table has the numbers" aria-describedby="${id}-tell" data-table="${id}-table" data-tell="${id}-tell">
${cells(heat)}<rect class="cursor" visibility="hidden" width="1" height="1"/></svg>
<span></span>${labels('across', columns, 12)}
<span class="axis" aria-hidden="true">${axis} · ${scale}</span>
</div>
<p id="${id}-tell" class="soft tell" aria-live="polite">${tell}</p>
<details><summary>As a table</summary><div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table id="${id}-table">
<caption>${caption}</caption>
<tr><td>${corner}</td>${head}</tr>
${body}</table></div></details>`
}
