import {
  expertKinds,
  type LayerReport,
  type RoutingReport,
  type TokenKindReport,
} from './routing_tally.ts'

/** What the report is of. */
export interface RoutingAbout {
  model: string
  architecture: string
  /** The file. */
  text: string
  window: number
}

const levels = [...'▁▂▃▄▅▆▇█']
const mostColumns = 32

/** Of each expert a block as high as its load; of many experts, the largest of each few. */
function blocks(load: readonly number[]): string {
  const each = Math.ceil(load.length / mostColumns)
  const most = Math.max(...load, Number.MIN_VALUE)
  const columns = Array.from({ length: Math.ceil(load.length / each) }, (_, c) =>
    Math.max(...load.slice(c * each, (c + 1) * each)),
  )
  const level = (value: number) =>
    Math.min(levels.length - 1, Math.floor((levels.length * value) / most))
  return columns.map((value) => (value === 0 ? '·' : levels[level(value)]!)).join('')
}

/** `8 ffn + 2 constant`, in the order of expertKinds. */
export const expertsText = ({ kinds, shared }: LayerReport): string =>
  [
    ...expertKinds.flatMap((kind) => {
      const count = kinds.filter((one) => one === kind).length
      return count === 0 ? [] : [`${count} ${kind}`]
    }),
    ...(shared ? ['shared'] : []),
  ].join(' + ')

/** The expert that was chosen most. */
export const busiest = ({ load }: LayerReport): { expert: number; share: number } => {
  const share = Math.max(...load)
  return { expert: load.indexOf(share), share }
}

/** Whether some experts are no FFN, so that tokens differ in what they cost. */
export const isMixed = ({ layers }: RoutingReport): boolean =>
  layers.some((layer) => layer?.kinds.some((kind) => kind !== 'ffn'))

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

function layerTable({ layers }: RoutingReport): string[] {
  const wide = Math.min(mostColumns, Math.max(...layers.map((layer) => layer?.kinds.length ?? 0)))
  const width = Math.max(wide, 'load of experts'.length)
  const head = ['layer', 'load of experts'.padEnd(width), 'even as', 'router', 'loss', 'busiest']
  const rows = layers.map((layer, l) => {
    if (!layer) return `${String(l).padStart(5)}  no router`
    const { expert, share } = busiest(layer)
    return [
      ...[String(l).padStart(5), blocks(layer.load).padEnd(width)],
      ...[
        layer.effectiveExperts.toFixed(1).padStart(7),
        layer.routerEntropy.toFixed(2).padStart(6),
      ],
      ...[layer.balanceLoss.toFixed(2).padStart(4), `${expert}: ${percent(share)}`],
    ].join('  ')
  })
  return [head.join('  '), ...rows]
}

function kindTable(report: RoutingReport): string[] {
  const mixed = isMixed(report)
  const has = expertKinds.filter((kind) =>
    report.layers.some((layer) => layer?.kinds.includes(kind)),
  )
  const cells = ({ slots, routerEntropy }: TokenKindReport): string[] => {
    if (!mixed) return [mean(routerEntropy).toFixed(2).padStart(6)]
    const all = expertKinds.reduce((n, kind) => n + slots[kind], 0)
    return [
      slots.ffn.toFixed(2).padStart(11),
      ...has.map((kind) => percent(slots[kind] / all).padStart(8)),
    ]
  }
  const head = mixed ? ['FFN experts', ...has.map((kind) => kind.padStart(8))] : ['router']
  return [
    ['token      ', ' tokens', ...head].join('  '),
    ...report.tokenKinds.map((one) =>
      [one.kind.padEnd(11), String(one.tokens).padStart(7), ...cells(one)].join('  '),
    ),
  ]
}

export function mean(values: readonly (number | null)[]): number {
  const known = values.filter((value) => value !== null)
  return known.reduce((sum, value) => sum + value, 0) / Math.max(1, known.length)
}

/** The report for a terminal of 80 columns. */
export function routingTable(about: RoutingAbout, report: RoutingReport): string {
  const routed = report.layers.flatMap((layer) => layer ?? [])
  const [first] = routed
  const mixed = isMixed(report)
  const ln = mean(routed.map(({ kinds }) => Math.log(kinds.length)))
  return [
    `${about.model} (${about.architecture}): ${report.layers.length} layers, top ${first!.topK} of ${expertsText(first!)}`,
    `${report.tokens} tokens of ${about.text}, in windows of ${about.window}`,
    '',
    ...layerTable(report),
    '',
    'even as: as many experts with equal load have this entropy; router: entropy of',
    `its softmax, at most ${ln.toFixed(2)}; loss: load balance, 1 is even; busiest: of all tokens`,
    '',
    ...kindTable(report),
    ...(mixed
      ? ['', `FFN experts: of the ${first!.topK} that a token takes in a layer; then shares of all`]
      : []),
    '',
  ].join('\n')
}
