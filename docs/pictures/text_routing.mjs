// Draws docs/pictures/text_routing.svg: which experts of the demo model tokens of a text chose. node docs/pictures/text_routing.mjs
import { writeFileSync } from 'node:fs'
import { demoModel, loadModel } from '../../dist/index.js'
import { picture, words } from './shapes.mjs'

const model = await loadModel(demoModel, { device: 'cpu' })
const { experts, numLayers } = model.config
const { text, ids, routing } = await model.generate('ROMEO:', { maxNewTokens: 16, routing: 'new' })
const tokens = ids.slice(0, -1) // the last one was not processed

const kinds = { ffn: 'a', constant: 'b', copy: 'c', zero: 'e' }
const [left, top, wide, high, gap] = [78, 44, 6, 17, 8]
const block = experts.length * wide + gap
const names = tokens.map((id) => model.tokenizer.decode([id]))
const marks = tokens.flatMap((_, t) =>
  routing.flatMap(({ expertIds, weights }, l) => {
    const K = expertIds.length / tokens.length
    return Array.from({ length: K }, (_, k) => {
      const e = expertIds[t * K + k]
      const opacity = (0.35 + 0.65 * weights[t * K + k]).toFixed(2)
      return `<rect x="${left + l * block + e * wide}" y="${top + t * high}" width="${wide - 1}" height="${high - 2}" class="${kinds[experts[e]]}" opacity="${opacity}"/>`
    })
  }),
)
const frames = Array.from({ length: numLayers }, (_, l) => [
  `<rect x="${left + l * block - 2}" y="${top - 2}" width="${block - gap + 3}" height="${tokens.length * high + 2}" class="box"/>`,
  words(left + l * block + (block - gap) / 2, top - 10, `layer ${l}`, 'small'),
])
const legend = [
  ['FFN', 'a'],
  ['constant', 'b'],
  ['copy', 'c'],
  ['zero', 'e'],
].map(([name, kind], i) => [
  `<rect x="${left + i * 76}" y="4" width="10" height="10" class="${kind}"/>`,
  words(left + 16 + i * 76, 13, name, 'left small'),
])
const labels = names.map((name, t) =>
  words(left - 8, top + t * high + 12, name.replaceAll('\n', '⏎').trim() || '␣', 'right'),
)
const svg = picture(
  'Experts that each token chose, layer by layer',
  top + tokens.length * high + 10,
  legend,
  frames,
  labels,
  marks,
).replace('viewBox="0 0 640', `viewBox="0 0 ${left + numLayers * block}`)
writeFileSync(new URL('text_routing.svg', import.meta.url), svg)
console.log(JSON.stringify(text))
await model.dispose()
