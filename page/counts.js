// What is counted of routing. Nothing here knows of the document.

/** @typedef {import('./api.js').Routing} Routing @typedef {import('./api.js').LayerStats} LayerStats */

/** In the order of legends and bars. */
export const kindNames = /** @type {const} */ (['ffn', 'constant', 'copy', 'zero'])
/** @type {Record<string, string>} */
export const kindLabels = {
  ...{ ffn: 'FFN', constant: 'constant', copy: 'copy', zero: 'zero', shared: 'shared' },
}

/**
 * The columns of the map: experts in the checkpoint's order, then what every token passes.
 *
 * @param {(LayerStats | null)[]} layers
 */
export function columnsOf(layers) {
  const longest = layers.reduce(
    (/** @type {string[]} */ most, layer) =>
      (layer?.kinds.length ?? 0) > most.length ? (layer?.kinds ?? []) : most,
    [],
  )
  return layers.some((layer) => layer?.shared) ? [...longest, 'shared'] : longest
}

/**
 * Slots of each kind that tokens took, over all layers.
 *
 * @param {Routing[]} tokens @param {(LayerStats | null)[]} layers
 */
export function slotsOf(tokens, layers) {
  /** @type {Record<string, number>} */
  const slots = Object.fromEntries(kindNames.map((kind) => [kind, 0]))
  let all = 0
  for (const token of tokens)
    for (const [l, chosen] of token.entries())
      for (const { expert } of chosen) {
        const kind = layers[l]?.kinds[expert] ?? 'ffn'
        slots[kind] = (slots[kind] ?? 0) + 1
        all++
      }
  return { slots, all }
}

/** @param {(LayerStats | null)[]} layers @param {number} columns */
const emptyGrid = (layers, columns) => layers.map(() => new Float64Array(columns))

/**
 * One token's weights, [layers][columns]. Several: the share that chose each expert, since zero experts weigh nothing.
 *
 * @param {Routing[]} tokens @param {(LayerStats | null)[]} layers
 */
export function answerGrid(tokens, layers) {
  const columns = columnsOf(layers)
  const grid = emptyGrid(layers, columns.length)
  for (const token of tokens)
    for (const [l, chosen] of token.entries()) {
      const row = /** @type {Float64Array} */ (grid[l])
      for (const { expert, weight } of chosen) {
        // Chosen with weight 0 is chosen.
        const part = tokens.length === 1 ? Math.max(weight, 1e-9) : 1 / tokens.length
        row[expert] = (row[expert] ?? 0) + part
      }
    }
  if (tokens.length > 0) fillShared(grid, layers, columns, 1)
  return grid
}

/**
 * Share of the tokens that each expert was chosen for, [layers][columns].
 *
 * @param {(LayerStats | null)[]} now @param {(LayerStats | null)[]} [before] counted then, and taken off
 */
export function loadGrid(now, before) {
  const columns = columnsOf(now)
  const grid = emptyGrid(now, columns.length)
  for (const [l, layer] of now.entries()) {
    const then = before?.[l]
    const tokens = (layer?.tokens ?? 0) - (then?.tokens ?? 0)
    const row = /** @type {Float64Array} */ (grid[l])
    for (const [e, n] of (layer?.tokens_per_expert ?? []).entries())
      row[e] = tokens > 0 ? (n - (then?.tokens_per_expert[e] ?? 0)) / tokens : 0
    if (tokens > 0 && layer?.shared) row[columns.length - 1] = 1
  }
  return grid
}

/** @param {Float64Array[]} grid @param {(LayerStats | null)[]} layers @param {string[]} columns @param {number} value */
function fillShared(grid, layers, columns, value) {
  for (const [l, layer] of layers.entries())
    if (layer?.shared) /** @type {Float64Array} */ (grid[l])[columns.length - 1] = value
}

/** @param {number} part @param {number} all */
export const percent = (part, all) => (all === 0 ? 0 : Math.round((100 * part) / all))

/**
 * @param {Routing} token @param {(LayerStats | null)[]} layers
 * @returns {string} as a sentence's part
 */
export function inWords(token, layers) {
  const { slots, all } = slotsOf([token], layers)
  const has = kindNames.filter((kind) => layers.some((layer) => layer?.kinds.includes(kind)))
  const parts = has.map((kind) => `${slots[kind]} ${kindLabels[kind]}`)
  const shared = layers.some((layer) => layer?.shared) ? ', and the shared experts' : ''
  return `${parts.join(', ')} of ${all} expert slots${shared}`
}
