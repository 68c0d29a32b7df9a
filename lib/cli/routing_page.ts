import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { packageFolder } from '../package_folder.ts'
import { type Heat, heatMap } from './heat_map.ts'
import { escapeHtml, type Markup, markup } from './markup.ts'
import { busiest, expertsText, isMixed, mean, percent, type RoutingAbout } from './routing_table.ts'
import { expertKinds, type LayerReport, type RoutingReport, type Slots } from './routing_tally.ts'

/** A token of the text. */
export interface PageToken {
  text: string
  /** FFN experts that it chose, mean over layers. */
  ffn: number
  /** Entropy of its routers, mean over layers, in nats. */
  entropy: number
}

const shades = 12
const folder = path.join(packageFolder, 'page')
const shadeRules = Array.from(
  { length: shades },
  (_, s) =>
    `.s${s + 1} { background: color-mix(in srgb, var(--ffn) ${4 * (s + 1)}%, transparent) }\n`,
).join('')

const tile = (name: string, value: string, unit = ''): Markup =>
  markup`<div><dt>${name}</dt><dd>${value} <small>${unit}</small></dd></div>\n`

/** Shares of each kind of expert. */
function bar(slots: Slots): Markup {
  const all = expertKinds.reduce((n, kind) => n + slots[kind], 0)
  let x = 0
  const parts = expertKinds.map((kind) => {
    const width = (100 * slots[kind]) / all
    x += width
    return width === 0
      ? markup``
      : markup`<rect class="${kind}" x="${(x - width).toFixed(2)}" width="${width.toFixed(2)}" height="8"/>`
  })
  return markup`<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">${parts}</svg>`
}

function legend(report: RoutingReport): Markup {
  const has = expertKinds.filter((kind) => report.layers.some((one) => one?.kinds.includes(kind)))
  const items = has.map(
    (kind) =>
      markup`<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="${kind}" width="1" height="1"/></svg>${kind === 'ffn' ? 'FFN' : kind}</li>`,
  )
  return markup`<ul class="legend soft">${items}</ul>`
}

/** Layers by experts. */
function loadHeat({ layers }: RoutingReport): Heat {
  const longest = layers.reduce<LayerReport['kinds']>(
    (most, layer) => (layer && layer.kinds.length > most.length ? layer.kinds : most),
    [],
  )
  return {
    id: 'load',
    caption: 'Share of the tokens that chose each expert',
    corner: 'layer',
    columns: longest.map((kind, e) => ({
      name: kind === 'ffn' ? `expert ${e}` : `expert ${e} (${kind})`,
      short: String(e),
    })),
    rows: layers.map((layer, l) => ({
      name: `layer ${l}`,
      short: String(l),
      cells: longest.map((_, e) => {
        const share = layer?.load[e]
        return share === undefined
          ? undefined
          : { value: share, text: percent(share), kind: layer!.kinds[e]! }
      }),
    })),
    axis: 'expert',
    tell: 'Point at a cell, or use the arrow keys in the map.',
  }
}

/** Kinds of token by layers: FFN experts where tokens differ in them, else how undecided the routers are. */
function kindHeat(report: RoutingReport): Heat {
  const mixed = isMixed(report)
  return {
    id: 'kinds',
    caption: mixed
      ? 'FFN experts that a token chose in each layer, mean by kind of token'
      : "Entropy of each layer's router in nats, mean by kind of token",
    corner: 'token',
    columns: report.layers.map((_, l) => ({ name: `layer ${l}`, short: String(l) })),
    rows: report.tokenKinds.map(({ kind, ffnSlots, routerEntropy }) => ({
      ...{ name: kind, short: kind },
      cells: (mixed ? ffnSlots : routerEntropy).map((value) =>
        value === null ? undefined : { value, text: value.toFixed(2), kind: 'ffn' as const },
      ),
    })),
    axis: 'layer',
    fromLeast: true,
    tell: 'Point at a cell, or use the arrow keys in the map.',
  }
}

function layerTable(report: RoutingReport): Markup {
  const mixed = isMixed(report)
  const rows = report.layers.map((layer, l) => {
    if (!layer) return markup`<tr><th scope="row">${l}</th><td colspan="5">no router</td></tr>\n`
    const { expert, share } = busiest(layer)
    const numbers = [
      `${layer.effectiveExperts.toFixed(1)} of ${layer.kinds.length}`,
      ...[layer.routerEntropy.toFixed(2), layer.balanceLoss.toFixed(2)],
      `${expert} (${percent(share)})`,
    ].map((text) => markup`<td class="number">${text}</td>`)
    const kinds = mixed ? markup`<td>${bar(layer.slots)}</td>` : markup``
    return markup`<tr><th scope="row">${l}</th>${numbers}${kinds}</tr>\n`
  })
  const heads = ['even as', 'router entropy', 'balance loss', 'busiest']
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="Layer by layer"><table>
<thead><tr><th scope="col">layer</th>${heads.map((name) => markup`<th scope="col" class="number">${name}</th>`)}${mixed ? markup`<th scope="col">kinds</th>` : markup``}</tr></thead>
<tbody>${rows}</tbody></table></div>`
}

function kindTable(report: RoutingReport): Markup {
  const rows = report.tokenKinds.map(({ kind, tokens, slots }) => {
    const all = expertKinds.reduce((n, one) => n + slots[one], 0)
    return markup`<tr><th scope="row">${kind}</th><td class="number">${tokens}</td><td class="number">${slots.ffn.toFixed(2)}</td><td class="number">${percent(1 - slots.ffn / all)}</td><td>${bar(slots)}</td></tr>\n`
  })
  const heads = ['tokens', 'FFN experts a layer', 'slots saved']
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="Slots by kind of token"><table>
<thead><tr><th scope="col">token</th>${heads.map((name) => markup`<th scope="col" class="number">${name}</th>`)}<th scope="col">slots</th></tr></thead>
<tbody>${rows}</tbody></table></div>`
}

/** The text, each token the darker the more it took. */
function shadedText(tokens: readonly PageToken[], mixed: boolean): Markup {
  const values = tokens.map(({ ffn, entropy }) => (mixed ? ffn : entropy))
  const least = Math.min(...values)
  const range = Math.max(...values) - least || 1
  const spans = tokens.map(({ text }, t) => {
    const s = Math.round((shades * (values[t]! - least)) / range)
    return s === 0 ? markup`${text}` : markup`<span class="s${s}">${text}</span>`
  })
  const unit = mixed ? 'FFN experts a layer' : 'nats'
  return markup`<p class="soft">${least.toFixed(2)} <span class="shade" aria-hidden="true"></span> ${(least + range).toFixed(2)} ${unit}</p>
<div class="text" tabindex="0" role="region" aria-label="The text">${spans}</div>`
}

function body(about: RoutingAbout, report: RoutingReport, shown: readonly PageToken[]): Markup {
  const mixed = isMixed(report)
  const routed = report.layers.flatMap((layer) => layer ?? [])
  const first = routed[0]!
  const saved = 1 - mean(routed.map(({ slots, topK }) => slots.ffn / topK))
  const left = report.tokens - shown.length
  return markup`<header>
  <h1>moe-native routing</h1>
  <p id="model">${about.model} · ${about.architecture} · ${report.layers.length} layers · ${expertsText(first)} experts, top-${first.topK}</p>
  <button id="theme" type="button" aria-pressed="false">Dark</button>
</header>
<main>
<dl class="tiles wide" aria-label="Figures">
${tile('Text', report.tokens.toLocaleString('en'), `tokens of ${about.text}`)}${tile('Load is as even as', mean(routed.map((one) => one.effectiveExperts)).toFixed(1), `of ${first.kinds.length} experts`)}${tile('Load-balance loss', mean(routed.map((one) => one.balanceLoss)).toFixed(2), '1 is even')}${tile('Router entropy', mean(routed.map((one) => one.routerEntropy)).toFixed(2), `of ${Math.log(first.kinds.length).toFixed(2)} nats`)}${mixed ? tile('FFN slots saved', percent(saved)) : markup``}</dl>
<section aria-labelledby="where">
  <div class="head"><h2 id="where">Where tokens went</h2><span class="spacer"></span>${legend(report)}</div>
${heatMap(loadHeat(report))}
</section>
<section aria-labelledby="layers">
  <div class="head"><h2 id="layers">Layer by layer</h2></div>
${layerTable(report)}
</section>
<section aria-labelledby="by-kind"${mixed ? markup`` : markup` class="wide"`}>
  <div class="head"><h2 id="by-kind">Kinds of token</h2><span class="soft">${mixed ? 'FFN experts that they take, by layer' : 'How undecided routers are about them, by layer'}</span></div>
${heatMap(kindHeat(report))}
</section>
${
  mixed
    ? markup`<section aria-labelledby="slots">
  <div class="head"><h2 id="slots">What they cost</h2><span class="spacer"></span>${legend(report)}</div>
${kindTable(report)}
</section>`
    : markup``
}
<section class="wide" aria-labelledby="tokens">
  <div class="head"><h2 id="tokens">Token by token</h2><span class="soft">${mixed ? 'FFN experts that each took' : 'Entropy of the routers at each'}${left > 0 ? `, the first ${shown.length} tokens` : ''}</span></div>
${shadedText(shown, mixed)}
</section>
</main>
<footer class="soft">Even as: so many experts with equal load have the same entropy. Balance loss: experts times the sum of their shares of choices and mean softmax (arXiv:2101.03961). A fragment goes on with a word that tokens before it began.</footer>`
}

const hashOf = (text: string): string =>
  `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** The report as one file that asks for nothing else, not even for scripts of its own that it did not come with. */
export async function routingPage(
  about: RoutingAbout,
  report: RoutingReport,
  shown: readonly PageToken[],
): Promise<string> {
  const [common, own, script] = await Promise.all(
    ['style.css', 'routing.css', 'routing.js'].map((name) =>
      readFile(path.join(folder, name), 'utf8'),
    ),
  )
  const style = `${common}${own}${shadeRules}`
  const policy = [
    "default-src 'none'",
    `style-src ${hashOf(style)}`,
    `script-src ${hashOf(script!)}`,
    ...['img-src data:', "base-uri 'none'", "form-action 'none'"],
  ].join('; ')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Routing of ${escapeHtml(about.model)}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${body(about, report, shown)}
<script>${script}</script>
</body>
</html>
`
}
