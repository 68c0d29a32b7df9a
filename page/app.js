import { chat, HttpError, stats } from './api.js'
import {
  answerGrid,
  columnsOf,
  inWords,
  kindLabels,
  kindNames,
  loadGrid,
  percent,
  slotsOf,
} from './counts.js'
import { barAt, cellAt, drawBars, drawMap, forgetColours } from './draw.js'

/**
 * @typedef {import('./api.js').Routing} Routing
 * @typedef {{ text: string, routing: Routing | undefined, node: HTMLElement }} Token
 */

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
function element(id, type) {
  const found = document.getElementById(id)
  if (found instanceof type) return found
  throw new Error(`#${id} is missing`)
}
const $ = (/** @type {string} */ id) => element(id, HTMLElement)
const map = element('map', HTMLCanvasElement)
const bars = element('bars', HTMLCanvasElement)
const prompt = element('prompt', HTMLTextAreaElement)
const mode = element('mode', HTMLSelectElement)
const key = element('key', HTMLInputElement)
const send = element('send', HTMLButtonElement)
const temperature = element('temperature', HTMLInputElement)
const most = element('most', HTMLInputElement)

/** @type {import('./api.js').Message[]} */
let messages = []
/** Of the answer that is shown. @type {Token[]} */
let tokens = []
let selected = -1
/** The last token that has gone somewhere is shown, until somebody chooses another. */
let following = true
/** @type {AbortController | undefined} */
let running
/** @type {import('./api.js').Stats | undefined} */
let now
/** What was counted in the last seconds, the oldest first. @type {import('./api.js').LayerStats[][]} */
let before = []
/** A picture is on its way. */
let asked = false

/** @param {string} tag @param {{ className?: string, text?: string }} [with_] @param {...Node} inside */
function make(tag, { className = '', text = '' } = {}, ...inside) {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text) node.textContent = text
  node.append(...inside)
  return node
}

/** A figure and its unit. @param {string} id @param {string | number} value @param {string} unit */
const figure = (id, value, unit) =>
  $(id).replaceChildren(`${value} `, make('small', { text: unit }))

const layers = () => now?.layers ?? []
const known = () => tokens.flatMap(({ routing }) => (routing ? [routing] : []))

function grid() {
  const of = layers()
  if (mode.value === 'total') return loadGrid(of)
  if (mode.value === 'live') return loadGrid(of, before[0])
  if (mode.value === 'answer') return answerGrid(known(), of)
  const one = tokens[selected]?.routing
  return answerGrid(one ? [one] : [], of)
}

/** Many tokens may come before the next picture. */
function draw() {
  if (asked) return
  asked = true
  requestAnimationFrame(() => {
    asked = false
    drawMap(map, layers(), grid(), mode.value !== 'token')
    drawBars(
      bars,
      tokens.map(({ routing }) => routing),
      layers(),
      selected,
    )
    const { slots, all } = slotsOf(known(), layers())
    if (all > 0) figure('saved', 100 - percent(slots.ffn ?? 0, all), '%')
  })
}

/** Says in words what the map shows. */
function tell() {
  const token = tokens[selected]
  $('which').textContent = mode.value === 'token' && token ? token.text.replaceAll('\n', '↵') : ''
  const of = layers()
  const sum = slotsOf(known(), of)
  const words = {
    token: () => {
      if (!token) return 'Ask something, and see where each token of the answer goes.'
      const place = `Token ${selected + 1} of ${tokens.length}`
      if (token.routing) return `${place}: ${inWords(token.routing, of)}.`
      return `${place}: the last one of an answer is not processed, so it went nowhere.`
    },
    answer: () =>
      `${known().length} tokens: ${kindNames.map((kind) => `${percent(sum.slots[kind] ?? 0, sum.all)} % ${kindLabels[kind]}`).join(', ')}.`,
    live: () =>
      'Share of the tokens of the last 10 seconds that chose each expert, of all requests.',
    total: () => 'Share of the tokens that chose each expert, of all requests so far.',
  }
  $('tell').textContent = words[/** @type {keyof typeof words} */ (mode.value)]()
  fillTable()
}

function fillTable() {
  if (!element('as-table', HTMLDetailsElement).open) return
  const routing = tokens[selected]?.routing ?? []
  const rows = routing.map((slots, l) => {
    const cells = slots.map(({ expert, weight }) => {
      const kind = layers()[l]?.kinds[expert] ?? 'ffn'
      return make('td', { text: `${expert} (${kindLabels[kind]}) ${weight.toFixed(2)}` })
    })
    const head = make('th', { text: `layer ${l}` })
    head.setAttribute('scope', 'row')
    return make('tr', {}, head, ...cells)
  })
  const caption = make('caption', { text: `Experts and weights of token ${selected + 1}` })
  element('table', HTMLTableElement).replaceChildren(caption, ...rows)
}

/** @param {number} t @param {boolean} [focus] */
function select(t, focus = false) {
  if (tokens.length === 0) return
  const old = tokens[selected]?.node
  old?.setAttribute('aria-selected', 'false')
  if (old) old.tabIndex = -1
  selected = Math.max(0, Math.min(tokens.length - 1, t))
  const node = /** @type {Token} */ (tokens[selected]).node
  node.setAttribute('aria-selected', 'true')
  node.tabIndex = 0
  if (focus) node.focus()
  draw()
}

/** @param {number} t */
function choose(t) {
  following = false
  select(t)
  tell()
}

/** @param {HTMLElement} answer @param {string} text */
function addToken(answer, text) {
  const node = make('span', { className: 'token', text })
  node.setAttribute('role', 'option')
  node.setAttribute('aria-selected', 'false')
  node.tabIndex = -1
  const index = tokens.length
  node.addEventListener('click', () => choose(index))
  answer.append(node)
  tokens.push({ text, routing: undefined, node })
}

/** @param {Token | undefined} token @param {Routing | undefined} routing */
function setRouting(token, routing) {
  if (!token || !routing) return
  token.routing = routing
  const { slots, all } = slotsOf([routing], layers())
  token.node.classList.add('known')
  token.node.style.setProperty('--share', String(percent(slots.ffn ?? 0, all)))
}

/** The tokens of an earlier answer become plain text. */
function settle() {
  for (const answer of document.querySelectorAll('.answer[role]')) {
    answer.replaceChildren(answer.textContent ?? '')
    for (const name of ['role', 'aria-label', 'tabindex']) answer.removeAttribute(name)
  }
  tokens = []
  selected = -1
  following = true
}

/** @param {string} who @param {HTMLElement} said */
function addTurn(who, said) {
  $('log').append(make('div', { className: 'turn' }, make('h2', { text: who }), said))
  $('log').scrollTop = $('log').scrollHeight
}

/** @param {HTMLElement} answer @param {AbortSignal} signal */
async function answerInto(answer, signal) {
  const started = performance.now()
  const log = $('log')
  let first = 0
  for await (const { text, routing } of chat({
    ...{ key: key.value, layers: layers().length, messages, signal },
    max_tokens: most.value === '' ? undefined : Number(most.value),
    temperature: temperature.value === '' ? undefined : Number(temperature.value),
  })) {
    setRouting(tokens.at(-1), routing)
    if (routing && following) select(tokens.length - 1)
    if (text === undefined) continue
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40
    addToken(answer, text)
    if (atEnd) log.scrollTop = log.scrollHeight
    const ms = performance.now()
    first ||= ms
    if (tokens.length === 1) figure('first', Math.round(ms - started), 'ms')
    else figure('speed', ((1000 * (tokens.length - 1)) / (ms - first)).toFixed(1), 'tokens/s')
  }
}

/** @param {string} text @param {boolean} [bad] */
function state(text, bad = false) {
  if ($('state').textContent !== text) $('state').textContent = text
  $('state').classList.toggle('bad', bad)
}

async function submit() {
  const text = prompt.value.trim()
  if (text === '' || running) return
  if (!now) await refresh()
  settle()
  prompt.value = ''
  messages.push({ role: 'user', content: text })
  addTurn('You', make('p', { text }))
  const answer = make('div', { className: 'answer' })
  answer.setAttribute('role', 'listbox')
  answer.setAttribute('aria-label', 'Tokens of the answer; arrow keys move')
  addTurn('Model', answer)
  running = new AbortController()
  const { signal } = running
  send.hidden = true
  $('stop').hidden = false
  state('answering')
  try {
    await answerInto(answer, signal)
    state(`answered: ${tokens.length} tokens`)
  } catch (error) {
    const left = signal.aborted
    state(left ? 'stopped' : 'failed', !left)
    if (!left) addTurn('Error', make('p', { className: 'failed', text: messageOf(error) }))
    if (error instanceof HttpError && error.status === 401) askKey()
  }
  const said = tokens.map((token) => token.text).join('')
  // What was not answered is not part of the conversation.
  if (tokens.length === 0) messages.pop()
  else messages.push({ role: 'assistant', content: said })
  running = undefined
  send.hidden = false
  $('stop').hidden = true
  draw()
  tell()
}

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error))

function askKey() {
  $('key-form').hidden = false
  if (document.activeElement === document.body) key.focus()
}

/** What the server does, once a second while somebody looks. */
async function refresh() {
  if (document.hidden && now) return
  try {
    const first = !now
    now = await stats(key.value)
    before.push(/** @type {import('./api.js').LayerStats[]} */ (now.layers))
    before = before.slice(-11)
    if (first) begin(now)
    figure(
      'cache',
      Math.round(100 * now.cache_usage),
      `% · ${percent(now.prefix_hits, now.prefix_queries)} % reused`,
    )
    figure('requests', now.running, `running · ${now.waiting} waiting`)
    if (!running && $('state').classList.contains('bad')) state('ready')
    if (first || mode.value === 'live' || mode.value === 'total') draw()
  } catch (error) {
    const locked = error instanceof HttpError && error.status === 401
    if (locked) askKey()
    if (!running) state(locked ? 'needs the API key' : 'no answer from the server', true)
  }
}

const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 })

/** @param {import('./api.js').Stats} stats */
function begin({ model, layers: of }) {
  const columns = columnsOf(of)
  const counts = [...kindNames, 'shared'].filter((kind) => columns.includes(kind))
  const number = (/** @type {string} */ kind) => columns.filter((one) => one === kind).length
  const experts = counts.map((kind) =>
    kind === 'shared' ? 'shared' : `${number(kind)} ${kindLabels[kind]}`,
  )
  const topK = Math.max(0, ...of.map((layer) => layer?.top_k ?? 0))
  $('model').textContent = [
    ...[
      model.name,
      model.architecture,
      `${of.length} layers`,
      `${experts.join(' + ')} experts, top-${topK}`,
    ],
    ...[`${compact.format(model.parameters)} parameters`, model.dtype, model.device],
  ].join(' · ')
  $('kinds').replaceChildren(
    ...counts.map((kind) => {
      const item = make('li', { text: kindLabels[kind] ?? kind })
      item.style.setProperty('--kind', `var(--${kind})`)
      return item
    }),
  )
  state('ready')
  tell()
}

/** @param {string} name */
function theme(name) {
  document.documentElement.dataset.theme = name
  $('theme').setAttribute('aria-pressed', String(name === 'dark'))
  forgetColours()
  draw()
}

$('ask').addEventListener('submit', (event) => {
  event.preventDefault()
  void submit()
})
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  void submit()
})
$('stop').addEventListener('click', () => running?.abort())
$('fresh').addEventListener('click', () => {
  running?.abort()
  messages = []
  settle()
  $('log').replaceChildren()
  draw()
  tell()
  prompt.focus()
})
$('log').addEventListener('keydown', (event) => {
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8, Home: -1e9, End: 1e9 }
  const move = moves[/** @type {keyof typeof moves} */ (event.key)]
  if (move === undefined || !(event.target instanceof HTMLElement)) return
  if (event.target.getAttribute('role') !== 'option') return
  event.preventDefault()
  following = false
  select(selected + move, true)
  tell()
})
bars.addEventListener('click', ({ offsetX }) =>
  choose(barAt(bars, tokens.length, selected, offsetX)),
)
map.addEventListener('pointermove', (event) => {
  const cell = cellAt(map, layers(), event)
  const value = cell && grid()[cell.layer]?.[cell.expert]
  map.title = cell
    ? `layer ${cell.layer}, expert ${cell.expert} (${kindLabels[cell.kind ?? '']}): ${value?.toFixed(3)}`
    : ''
})
mode.addEventListener('change', () => {
  draw()
  tell()
})
$('as-table').addEventListener('toggle', fillTable)
$('key-form').addEventListener('submit', (event) => {
  event.preventDefault()
  void refresh()
})
$('theme').addEventListener('click', () =>
  theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'),
)
new ResizeObserver(draw).observe(map)
theme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')
tell()
void refresh()
setInterval(() => void refresh(), 1000)
