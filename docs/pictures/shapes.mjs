// What the drawings of the documentation are made of: tensors as grids of cells, arrows, words. Colours follow the page.
const style = `<style>
text{fill:#1c2430;text-anchor:middle;font-size:13px}.left{text-anchor:start}.right{text-anchor:end}.small{font-size:11px;fill:#5b6675}
.cell{fill:#eef1f6;stroke:#8a94a6}.none{fill:none;stroke:none}.off{fill:none;stroke:#8a94a6;stroke-dasharray:3 3}
.a{fill:#2f6fd0}.b{fill:#d98a1f}.c{fill:#2c9a72}.d{fill:#8a63c9}.e{fill:#98a1b0}.line{fill:none;stroke:#8a94a6;stroke-width:1.5}
.hot{fill:none;stroke:#2f6fd0;stroke-width:1.5}.arrow{marker-end:url(#tip)}.tip{fill:#8a94a6}.box{fill:#eef1f6;stroke:#8a94a6}.on{fill:#cfe3ff;stroke:#2f6fd0}
@media (prefers-color-scheme:dark){text{fill:#dfe3ea}.small{fill:#a3adbb}.cell,.box{fill:#2a2f38}.on{fill:#1d3a66}
.a{fill:#6ea3f0}.b{fill:#e5a54b}.c{fill:#4dbb92}.d{fill:#ab8be0}.e{fill:#7d8797}.hot{stroke:#6ea3f0}}
</style>`

/** A whole picture, 640 wide. */
export const picture = (title, height, ...parts) =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 ${height}" font-family="system-ui, sans-serif">`,
    `<title>${title}</title>`,
    style,
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
    ...parts.flat(Number.POSITIVE_INFINITY),
    '</svg>',
    '',
  ].join('\n')

const escaped = (words) => String(words).replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** Words at a point. */
export const words = (x, y, text, kind = '') =>
  `<text x="${x}" y="${y}"${kind && ` class="${kind}"`}>${escaped(text)}</text>`

export const arrow = (x1, y1, x2, y2, kind = 'line') =>
  `<path class="${kind} arrow" d="M${x1} ${y1}${y1 === y2 || x1 === x2 ? `L${x2} ${y2}` : `C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`}"/>`

export const line = (d, kind = 'line') => `<path class="${kind}" d="${d}"/>`

/** A rectangle with words in it. */
export const box = (x, y, width, height, text = '', kind = 'box') => [
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="5" class="${kind}"/>`,
  text && words(x + width / 2, y + height / 2 + 4, text),
]

/**
 * A tensor of `rows` by `columns` cells; `look(row, column)` is a class, a class and an opacity, or nothing. `text(row, column)`
 * is written into a cell, `name` above and `shape` below.
 */
export function grid(
  x,
  y,
  rows,
  columns,
  { look, text, name, shape, size = 16, wide = size } = {},
) {
  const cells = []
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const [at, up] = [x + c * wide, y + r * size]
      const [kind = 'cell', opacity = 1] = [look?.(r, c) ?? []].flat()
      cells.push(`<rect x="${at}" y="${up}" width="${wide}" height="${size}" class="cell"/>`)
      if (kind === 'off') cells[cells.length - 1] = cells.at(-1).replace('"cell"', '"off"')
      else if (kind !== 'cell')
        cells.push(
          `<rect x="${at + 1}" y="${up + 1}" width="${wide - 2}" height="${size - 2}" class="${kind}" opacity="${opacity}"/>`,
        )
      const inside = text?.(r, c)
      if (inside !== undefined) cells.push(words(at + wide / 2, up + size / 2 + 4, inside, 'small'))
    }
  const middle = x + (columns * wide) / 2
  if (name) cells.push(words(middle, y - 8, name))
  if (shape) cells.push(words(middle, y + rows * size + 16, shape, 'small'))
  return cells
}

export const experts = ['a', 'b', 'c', 'd']
/** Shades as of random numbers, the same each time. */
export const shade = (r, c) => 0.25 + (((r * 7 + c * 5 + r * c * 3) % 10) / 10) * 0.7
export const shades = (kind) => (r, c) => [kind, shade(r, c)]
export const row = (at, kind) => (r) => (r === at ? kind : undefined)
