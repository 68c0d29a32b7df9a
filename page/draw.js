// Draws on canvases: Yuan has 768 cells of layers and experts, others 15,000.

import { columnsOf, kindNames, percent, slotsOf } from './counts.js'

/** @typedef {import('./api.js').Routing} Routing @typedef {import('./api.js').LayerStats} LayerStats */

/** @param {string} name @returns {string} */
const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/** A canvas in device pixels, cleared; drawing happens in CSS pixels. @param {HTMLCanvasElement} canvas */
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas
  const ratio = window.devicePixelRatio || 1
  canvas.width = Math.round(width * ratio)
  canvas.height = Math.round(height * ratio)
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'))
  context.scale(ratio, ratio)
  context.font = '11px system-ui, "DejaVu Sans", sans-serif'
  return { context, width, height }
}

const margin = { left: 44, top: 46, bottom: 34, gap: 9 }
/** Of the kinds of each layer. @param {number} width */
const rightOf = (width) => (width < 420 ? 56 : 80)

/**
 * Where columns and rows of the map are.
 *
 * @param {HTMLCanvasElement} canvas @param {string[]} columns @param {number} layers
 */
function place(canvas, columns, layers) {
  const { clientWidth: width, clientHeight: height } = canvas
  const breaks = columns.filter((kind, e) => e > 0 && columns[e - 1] !== kind).length
  const inside = width - margin.left - rightOf(width)
  const gap = Math.min(margin.gap, inside / (2 * Math.max(1, breaks)))
  const cell = (inside - breaks * gap) / Math.max(1, columns.length)
  const row = (height - margin.top - margin.bottom) / Math.max(1, layers)
  /** @type {number[]} */
  const x = []
  let at = margin.left
  for (const [e, kind] of columns.entries()) {
    if (e > 0 && columns[e - 1] !== kind) at += gap
    x.push(at)
    at += cell
  }
  return { x, cell, row }
}

/** The cell under a point. @param {HTMLCanvasElement} canvas @param {(LayerStats | null)[]} layers @param {{ offsetX: number, offsetY: number }} point */
export function cellAt(canvas, layers, { offsetX, offsetY }) {
  const columns = columnsOf(layers)
  const { x, cell, row } = place(canvas, columns, layers.length)
  const e = x.findIndex((left) => offsetX >= left && offsetX < left + cell)
  const l = Math.floor((offsetY - margin.top) / row)
  return e < 0 || l < 0 || l >= layers.length
    ? undefined
    : { layer: l, expert: e, kind: columns[e] }
}

/** Every so many labels, so that they do not touch. @param {number} size @param {number} least */
const every = (size, least) => {
  const steps = [1, 2, 4, 8, 16, 32, 64, 128]
  return steps.find((step) => step * size >= least) ?? 256
}

/** @param {string[]} columns @param {number} e @param {boolean} short */
function columnName(columns, e, short) {
  const kind = /** @type {string} */ (columns[e])
  if (kind === 'ffn') return String(e)
  const number = e - columns.indexOf(kind)
  const several = columns.filter((other) => other === kind).length > 1
  if (short && !several) return kind.slice(0, 2)
  return several ? `${kind[0]}${number}` : kind === 'constant' ? 'const' : kind
}

/**
 * Layers by experts; above, what each expert has of all layers, and at the right each layer's kinds.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {(LayerStats | null)[]} layers
 * @param {Float64Array[]} grid [layers][columns]
 * @param {boolean} relative the fullest cell is opaque; otherwise 1 is
 */
export function drawMap(canvas, layers, grid, relative) {
  const { context: c, width, height } = surface(canvas)
  if (layers.length === 0) return
  const columns = columnsOf(layers)
  const { x, cell, row } = place(canvas, columns, layers.length)
  const inset = Math.min(1, cell / 8, row / 8)
  const most = Math.max(...grid.flatMap((values) => [...values]), 1e-9)
  const right = width - rightOf(width) + 14
  const bar = rightOf(width) - 18

  for (const [l, values] of grid.entries()) {
    const y = margin.top + l * row
    const layer = layers[l]
    for (const [e, value] of values.entries()) {
      const own = columns[e] === 'shared' ? layer?.shared : layer?.kinds[e] !== undefined
      if (!own) continue
      c.globalAlpha = 1
      c.fillStyle = colourOf('empty')
      c.fillRect(at(e), y + inset, cell - 2 * inset, row - 2 * inset)
      if (value === 0) continue
      const share = columns[e] === 'shared' ? 1 : value / (relative ? most : 1)
      c.globalAlpha = 0.2 + 0.8 * Math.min(1, share)
      c.fillStyle = colourOf(columns[e] ?? 'ffn')
      c.fillRect(at(e), y + inset, cell - 2 * inset, row - 2 * inset)
    }
    let from = right
    const sum = values.reduce((n, value, e) => n + (columns[e] === 'shared' ? 0 : value), 0)
    c.globalAlpha = 0.9
    for (const kind of kindNames) {
      const part = values.reduce((n, value, e) => n + (columns[e] === kind ? value : 0), 0)
      if (part === 0) continue
      c.fillStyle = colourOf(kind)
      c.fillRect(from, y + 2 * inset, (part / sum) * bar, row - 4 * inset)
      from += (part / sum) * bar
    }
  }

  const load = columns.map((kind, e) =>
    kind === 'shared' ? 0 : grid.reduce((n, values) => n + (values[e] ?? 0), 0),
  )
  const mostLoad = Math.max(...load, 1e-9)
  c.globalAlpha = 0.85
  for (const [e, value] of load.entries()) {
    const tall = (value / mostLoad) * (margin.top - 14)
    c.fillStyle = colourOf(columns[e] ?? 'ffn')
    c.fillRect(at(e), margin.top - 4 - tall, cell - 2 * inset, tall)
  }

  c.globalAlpha = 1
  c.fillStyle = colourOf('soft')
  c.textBaseline = 'middle'
  c.textAlign = 'right'
  const stepDown = every(row, 14)
  for (let l = 0; l < layers.length; l += stepDown)
    c.fillText(String(l), margin.left - 7, margin.top + (l + 0.5) * row)
  c.textAlign = 'center'
  // Numbers of FFN experts stand where they fit, names of the others where their kind begins or all fit.
  const stepAcross = every(cell, 20)
  for (const [e, kind] of columns.entries()) {
    const number = e - columns.indexOf(kind)
    const wide = cell >= 34 || kind === 'ffn'
    if (number % (wide ? stepAcross : every(cell, 34)) !== 0) continue
    c.fillText(
      columnName(columns, e, cell < 24),
      (x[e] ?? 0) + cell / 2,
      height - margin.bottom + 11,
    )
  }
  c.fillText('expert', (margin.left + width - rightOf(width)) / 2, height - 6)
  c.fillText('by kind', right + bar / 2, margin.top - 12)
  c.save()
  c.translate(8, margin.top + (layers.length * row) / 2)
  c.rotate(-Math.PI / 2)
  c.fillText('layer', 0, 0)
  c.restore()

  /** @param {number} e */
  function at(e) {
    return (x[e] ?? 0) + inset
  }
}

/** Reading a style costs more than drawing a cell. @type {Map<string, string>} */
let colours = new Map()
/** @param {string} name */
function colourOf(name) {
  const known = colours.get(name)
  if (known !== undefined) return known
  const value = colour(name)
  colours.set(name, value)
  return value
}
/** The theme has changed. */
export const forgetColours = () => {
  colours = new Map()
}

/** Which tokens fit the bars: those around the chosen one. @param {HTMLCanvasElement} canvas @param {number} count @param {number} selected */
function shownBars(canvas, count, selected) {
  const width = canvas.clientWidth - 48
  const fit = Math.max(1, Math.min(count, Math.floor(width / 4)))
  const first = Math.max(0, Math.min(count - fit, selected - Math.floor(fit / 2)))
  return { first, fit, step: Math.min(18, width / fit) }
}

/** @param {HTMLCanvasElement} canvas @param {number} count @param {number} selected @param {number} offsetX */
export function barAt(canvas, count, selected, offsetX) {
  const { first, step } = shownBars(canvas, count, selected)
  return first + Math.floor((offsetX - 44) / step)
}

/**
 * Slots of each token by kind.
 *
 * @param {HTMLCanvasElement} canvas @param {(Routing | undefined)[]} tokens @param {(LayerStats | null)[]} layers @param {number} selected
 */
export function drawBars(canvas, tokens, layers, selected) {
  const { context: c, height } = surface(canvas)
  const [top, bottom] = [4, height - 16]
  c.fillStyle = colourOf('soft')
  c.textAlign = 'right'
  c.textBaseline = 'middle'
  c.fillText('100 %', 40, top + 6)
  c.fillText('0', 40, bottom - 3)
  const { first, fit, step } = shownBars(canvas, tokens.length, selected)
  for (let t = first; t < Math.min(tokens.length, first + fit); t++) {
    const left = 44 + (t - first) * step
    const width = Math.max(1, step - 2)
    const token = tokens[t]
    c.globalAlpha = 1
    c.fillStyle = colourOf('empty')
    c.fillRect(left + 1, top, width, bottom - top)
    if (token) {
      const { slots, all } = slotsOf([token], layers)
      let y = bottom
      c.globalAlpha = t === selected ? 1 : 0.72
      for (const kind of kindNames) {
        const tall = (percent(slots[kind] ?? 0, all) / 100) * (bottom - top)
        c.fillStyle = colourOf(kind)
        c.fillRect(left + 1, y - tall, width, tall)
        y -= tall
      }
    }
    if (t !== selected) continue
    c.globalAlpha = 1
    c.fillStyle = colourOf('accent')
    c.beginPath()
    c.moveTo(left + step / 2, bottom + 3)
    c.lineTo(left + step / 2 - 5, height - 2)
    c.lineTo(left + step / 2 + 5, height - 2)
    c.fill()
  }
  c.globalAlpha = 1
}
