// Pictures of kernels: experts and what they return, and routings that look at more than one token.
import { arrow, experts, grid, line, picture, row, shade, shades, words } from './shapes.mjs'

/** Two choices of each of four tokens, and the rows of a permuted list: of expert a, then b, then d. */
const chosen = [
  [0, 1],
  [1, 3],
  [0, 3],
  [1, 0],
]
const slots = chosen.flatMap((ids, t) => ids.map((e, k) => ({ t, e, k })))
const grouped = [...slots].sort((one, other) => one.e - other.e || one.t - other.t)

export default {
  attentionRouter: picture(
    'Experts that attend to each other',
    150,
    ['query', 'key', 'value'].map((name, i) => [
      words(60, 45 + i * 36, name, 'right'),
      grid(70, 32 + i * 36, 1, 4, { look: (_, c) => experts[c], wide: 22 }),
    ]),
    words(114, 22, 'one of each for every expert', ''),
    arrow(164, 60, 224, 66),
    grid(234, 34, 4, 4, {
      look: (r, c) => ['a', shade(r + 1, c)],
      size: 20,
      name: 'A = softmax(q k)',
      shape: '[E, E] of a token',
    }),
    arrow(318, 74, 368, 74),
    words(344, 66, '· v', 'small'),
    grid(378, 64, 1, 4, { look: (_, c) => experts[c], wide: 22, name: 'logits', shape: '[E]' }),
  ),

  topK: picture(
    'Top-k',
    150,
    grid(20, 40, 4, 4, {
      look: (r, c) => (chosen[r].includes(c) ? experts[c] : ['e', 0.3]),
      wide: 22,
      name: 'logits',
      shape: '[T, E]',
    }),
    arrow(114, 72, 148, 72),
    grid(156, 40, 4, 2, { text: (r, k) => chosen[r][k], wide: 24, name: 'ids', shape: '[T, K]' }),
    grid(232, 40, 4, 2, {
      text: (r, k) =>
        [
          ['.7', '.3'],
          ['.6', '.4'],
          ['.8', '.2'],
          ['.5', '.5'],
        ][r][k],
      wide: 28,
      name: 'weights',
      shape: '[T, K]',
    }),
    grid(316, 40, 4, 2, {
      text: (r, k) => grouped.findIndex((s) => s.t === r && s.k === k),
      wide: 24,
      name: 'rows',
      shape: '[T, K]',
    }),
    grid(400, 64, 1, 5, {
      text: (_, c) => [0, 3, 6, 6, 8][c],
      wide: 24,
      name: 'offsets',
      shape: '[E + 1]',
    }),
    words(460, 116, 'expert 2 has no rows', 'small'),
  ),

  permute: picture(
    'Rows grouped by expert',
    190,
    grid(40, 56, 4, 6, {
      look: (r) => ['e', 0.35 + r * 0.2],
      text: (r, c) => (c === 0 ? r : undefined),
      name: 'x, in token order',
      shape: '[T, H]',
    }),
    grouped.map((s, i) =>
      line(`M140 ${64 + s.t * 16}C220 ${64 + s.t * 16} 220 ${36 + i * 17} 296 ${36 + i * 17}`),
    ),
    grid(300, 28, 8, 6, {
      look: (r) => experts[grouped[r].e],
      size: 17,
      name: 'out, by expert',
      shape: '[R, H]',
    }),
    grouped.map((s, i) => words(406, 41 + i * 17, `token ${s.t}`, 'left small')),
  ),

  groupedGemm: picture(
    'One product for each expert',
    190,
    grid(20, 28, 8, 6, {
      look: (r) => experts[grouped[r].e],
      size: 17,
      name: 'x',
      shape: '[R, K]',
    }),
    [0, 1, 2, 3].map((e) => [
      grid(200, 20 + e * 40, 2, 6, { look: () => (e === 2 ? 'off' : [experts[e], 0.5]), size: 15 }),
      e === 2
        ? words(300, 118, 'no rows: not read', 'left small')
        : arrow(122, [52, 104, 0, 150][e], 194, 36 + e * 40),
    ]),
    words(248, 14, 'W of each expert', ''),
    arrow(304, 36, 394, 60),
    arrow(304, 76, 394, 98),
    arrow(304, 156, 394, 142),
    grid(400, 28, 8, 5, {
      look: (r) => experts[grouped[r].e],
      size: 17,
      name: 'out',
      shape: '[R, N]',
    }),
  ),

  combine: picture(
    'Back in token order',
    190,
    grid(20, 28, 8, 6, {
      look: (r) => experts[grouped[r].e],
      size: 17,
      name: 'expertOut',
      shape: '[R, H]',
    }),
    grouped.map((s, i) =>
      line(`M118 ${36 + i * 17}C200 ${36 + i * 17} 210 ${64 + s.t * 16} 286 ${64 + s.t * 16}`),
    ),
    words(206, 24, '× weights', 'small'),
    grid(290, 56, 4, 6, { look: shades('c'), name: 'sums of slots', shape: '[T, H]' }),
    words(410, 92, '+'),
    grid(430, 56, 4, 6, { look: () => ['e', 0.6], name: 'residual', shape: '[T, H] f32' }),
    words(540, 80, 'copy: + w x', 'left small'),
    words(540, 96, 'constant: + w c', 'left small'),
    words(540, 112, 'zero: nothing', 'left small'),
  ),

  limitCapacity: picture(
    'Experts with a capacity',
    150,
    grid(60, 40, 5, 3, {
      look: (r, c) => ([0, 0, 1, 0, 2][r] === c ? experts[c] : undefined),
      wide: 26,
      name: 'choices',
      shape: 'tokens × experts',
    }),
    arrow(146, 80, 220, 80),
    words(183, 72, 'capacity 2', 'small'),
    grid(230, 40, 5, 3, {
      look: (r, c) =>
        r === 3 && c === 0 ? 'off' : [0, 0, 1, 0, 2][r] === c ? experts[c] : undefined,
      wide: 26,
      name: 'served',
    }),
    words(330, 101, 'dropped: row −1, id and weight stay', 'left small'),
  ),

  expertChoice: picture(
    'Experts choose tokens',
    150,
    grid(60, 40, 5, 3, {
      look: (r, c) => [experts[c], shade(r, c) * 0.6],
      wide: 26,
      name: 'softmax of logits',
      shape: 'tokens × experts',
    }),
    arrow(146, 80, 220, 80),
    words(183, 72, 'best 2 of each', 'small'),
    grid(230, 40, 5, 3, {
      look: (r, c) =>
        [
          [0, 3],
          [1, 3],
          [0, 4],
        ][c].includes(r)
          ? experts[c]
          : undefined,
      wide: 26,
      name: 'taken',
    }),
    words(330, 85, 'a token is taken by none to all', 'left small'),
  ),

  softLogits: picture(
    'Logits of tokens and slots',
    140,
    grid(30, 40, 4, 6, { look: row(1, 'a'), name: 'tokens', shape: '[T, H]' }),
    words(146, 76, '·'),
    grid(164, 40, 4, 6, { look: row(2, 'b'), name: 'slots', shape: '[S, H]' }),
    arrow(270, 72, 330, 72),
    words(300, 64, 'cosine', 'small'),
    grid(340, 40, 4, 4, {
      look: (r, c) => (r === 1 && c === 2 ? 'c' : ['e', shade(r, c) * 0.5]),
      name: 'logits',
      shape: '[T, S] × scale',
    }),
  ),

  softWeights: picture(
    'Two softmaxes',
    150,
    grid(30, 44, 4, 4, { look: shades('e'), size: 18, name: 'logits', shape: '[T, S]' }),
    arrow(110, 64, 180, 52),
    arrow(110, 90, 180, 106),
    grid(190, 44, 4, 4, { look: (r, c) => ['a', shade(r, c)], size: 18, name: 'dispatch' }),
    line('M272 44V116', 'hot arrow'),
    words(284, 84, 'a slot sums to 1', 'left small'),
    grid(410, 44, 4, 4, { look: (r, c) => ['b', shade(c, r)], size: 18, name: 'combine' }),
    line('M410 128H482', 'hot arrow'),
    words(446, 144, 'a token sums to 1', 'small'),
  ),

  softDispatch: picture(
    'Slots as mixes of tokens',
    140,
    grid(30, 40, 3, 4, { look: (r, c) => ['a', shade(c, r)], name: 'dispatchᵀ', shape: '[S, T]' }),
    words(110, 70, '·'),
    grid(130, 32, 4, 6, { look: (r) => experts[r], name: 'x', shape: '[T, H]' }),
    arrow(236, 64, 300, 64),
    grid(310, 40, 3, 6, { look: shades('c'), name: 'slots', shape: '[S, H]' }),
    words(420, 68, 'an expert sees its slots', 'left small'),
  ),

  softCombine: picture(
    'Tokens as mixes of slots',
    140,
    grid(30, 32, 4, 3, { look: (r, c) => ['b', shade(r, c)], name: 'combine', shape: '[T, S]' }),
    words(94, 68, '·'),
    grid(112, 40, 3, 6, { look: (r) => experts[r], name: 'expertOut', shape: '[S, H]' }),
    words(224, 68, '+'),
    grid(242, 32, 4, 6, { look: () => ['e', 0.6], name: 'residual', shape: '[T, H]' }),
    arrow(344, 64, 390, 64),
    grid(400, 32, 4, 6, { look: shades('c'), name: 'out', shape: '[T, H]' }),
  ),
}
