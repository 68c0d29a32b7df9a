// The page that `moe-native routing --html` writes; its tables have all numbers, and maps look them up there.

const button = document.getElementById('theme')

/** @param {string} name */
function theme(name) {
  document.documentElement.dataset.theme = name
  button?.setAttribute('aria-pressed', String(name === 'dark'))
}
theme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')
button?.addEventListener('click', () =>
  theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'),
)

/** @param {SVGSVGElement} map */
function explain(map) {
  const table = document.getElementById(map.dataset.table ?? '')
  const tell = document.getElementById(map.dataset.tell ?? '')
  const cursor = map.querySelector('.cursor')
  if (!(table instanceof HTMLTableElement) || !tell || !cursor) return
  const { width: columns, height: rows } = map.viewBox.baseVal
  const said = tell.textContent
  let [x, y] = [-1, -1]

  /** @param {number} toX @param {number} toY */
  const show = (toX, toY) => {
    x = Math.max(0, Math.min(columns - 1, toX))
    y = Math.max(0, Math.min(rows - 1, toY))
    cursor.setAttribute('x', String(x))
    cursor.setAttribute('y', String(y))
    cursor.removeAttribute('visibility')
    const text = (/** @type {HTMLTableCellElement | undefined} */ cell) => cell?.textContent ?? ''
    const row = table.rows[y + 1]
    tell.textContent = `${text(row?.cells[0])}, ${text(table.rows[0]?.cells[x + 1])}: ${text(row?.cells[x + 1])}`
  }
  const hide = () => {
    x = -1
    cursor.setAttribute('visibility', 'hidden')
    tell.textContent = said
  }

  map.addEventListener('pointermove', ({ clientX, clientY }) => {
    const { left, top, width, height } = map.getBoundingClientRect()
    show(
      Math.floor((columns * (clientX - left)) / width),
      Math.floor((rows * (clientY - top)) / height),
    )
  })
  map.addEventListener('pointerleave', hide)
  map.addEventListener('blur', hide)
  map.addEventListener('keydown', (event) => {
    /** @type {Record<string, [number, number]>} */
    const moves = {
      ...{ ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] },
      ...{ Home: [-columns, 0], End: [columns, 0] },
    }
    const move = moves[event.key]
    if (!move) return
    event.preventDefault()
    if (x < 0) show(0, 0)
    else show(x + move[0], y + move[1])
  })
}
for (const map of document.querySelectorAll('svg.map'))
  if (map instanceof SVGSVGElement) explain(map)
