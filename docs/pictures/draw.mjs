// The pictures of docs/kernels.md.
//   node docs/pictures/draw.mjs            write docs/pictures/kernels
//   node docs/pictures/draw.mjs --check    fail where they are others
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { arrow, box, grid, line, picture, words } from './shapes.mjs'

const experts = ['a', 'b', 'c', 'd']
/** Shades as of random numbers, the same each time. */
const shade = (r, c) => 0.25 + (((r * 7 + c * 5 + r * c * 3) % 10) / 10) * 0.7
const shades = (kind) => (r, c) => [kind, shade(r, c)]
const row = (at, kind) => (r) => (r === at ? kind : undefined)

/** Two choices of each of four tokens, and the rows of a permuted list: of expert a, then b, then d. */
const chosen = [
  [0, 1],
  [1, 3],
  [0, 3],
  [1, 0],
]
const slots = chosen.flatMap((ids, t) => ids.map((e, k) => ({ t, e, k })))
const grouped = [...slots].sort((one, other) => one.e - other.e || one.t - other.t)

const drawn = {
  embedding: picture(
    'Embedding: ids name rows of a table',
    150,
    grid(40, 50, 3, 1, { text: (r) => [4, 1, 4][r], name: 'ids', shape: '[T]', wide: 24 }),
    arrow(72, 74, 140, 74),
    grid(150, 26, 6, 8, { look: (r) => ({ 4: 'a', 1: 'b' })[r], name: 'table', shape: '[V, H]' }),
    arrow(288, 74, 356, 74),
    words(322, 66, '× scale', 'small'),
    grid(366, 50, 3, 8, { look: (r) => ['a', 'b', 'a'][r], name: 'out', shape: '[T, H] f32' }),
  ),

  gatherRows: picture(
    'Gathering rows',
    150,
    grid(40, 58, 2, 1, { text: (r) => [2, 5][r], name: 'rows', shape: '[R]', wide: 24 }),
    arrow(72, 74, 140, 74),
    grid(150, 26, 6, 8, { look: (r) => ({ 2: 'a', 5: 'b' })[r], name: 'x', shape: '[T, H]' }),
    arrow(288, 74, 356, 74),
    grid(366, 58, 2, 8, { look: (r) => ['a', 'b'][r], name: 'out', shape: '[R, H]' }),
  ),

  rmsNorm: picture(
    'RMS norm',
    130,
    grid(20, 40, 3, 8, { look: shades('a'), name: 'x', shape: '[T, H]' }),
    arrow(154, 64, 186, 64),
    box(190, 44, 150, 40, '÷ √(mean x² + eps)'),
    arrow(344, 64, 372, 64),
    words(390, 69, '×'),
    grid(404, 56, 1, 8, { look: shades('b'), size: 16, wide: 8, name: 'weight' }),
    arrow(472, 64, 498, 64),
    grid(504, 40, 3, 8, { look: () => ['a', 0.6], wide: 10, name: 'out' }),
  ),

  layerNorm: picture(
    'Layer norm',
    130,
    grid(20, 40, 3, 8, { look: shades('a'), name: 'x', shape: '[T, H]' }),
    arrow(154, 64, 182, 64),
    box(186, 44, 208, 40, '(x − mean) ÷ √(variance + eps)'),
    arrow(396, 64, 412, 64),
    words(424, 69, '×'),
    grid(436, 56, 1, 8, { look: shades('b'), wide: 7, name: 'weight' }),
    words(504, 69, '+'),
    grid(516, 56, 1, 8, { look: shades('c'), wide: 5, name: 'bias' }),
    arrow(560, 64, 578, 64),
    words(606, 69, 'out'),
  ),

  clamp: picture(
    'Clamping',
    150,
    line('M20 75H300M160 15V135'),
    line('M40 115H110L210 35H280', 'hot'),
    words(104, 132, '−limit', 'small'),
    words(224, 28, 'limit', 'small'),
    words(294, 90, 'x', 'small'),
    words(174, 24, 'out', 'small'),
  ),

  linear: picture(
    'A projection',
    150,
    grid(20, 50, 3, 6, { look: row(1, 'a'), name: 'x', shape: '[T, K]' }),
    words(138, 78, '·'),
    grid(156, 34, 5, 6, { look: row(3, 'b'), name: 'W', shape: '[N, K]' }),
    arrow(262, 74, 290, 74),
    grid(300, 50, 3, 5, {
      look: (r, c) => (r === 1 && c === 3 ? 'c' : undefined),
      name: 'sums',
      shape: '[T, N] f32',
    }),
    arrow(388, 74, 412, 74),
    box(416, 54, 104, 40, 'act(… + bias)'),
    words(536, 78, '+'),
    grid(550, 50, 3, 5, { look: () => ['e', 0.5], wide: 10, name: 'residual' }),
  ),

  ropeCache: picture(
    'Rotary positions, and the key/value cache',
    180,
    grid(20, 60, 1, 8, {
      look: (_, c) => experts[c % 4],
      wide: 20,
      shape: '[D], a head of q or k',
    }),
    [0, 1, 2, 3].map((j) =>
      line(`M${30 + 20 * j} 60C${30 + 20 * j} 28 ${110 + 20 * j} 28 ${110 + 20 * j} 60`),
    ),
    words(100, 116, 'value j turns with value j + D/2', 'small'),
    words(100, 132, 'by position × frequency j', 'small'),
    arrow(190, 68, 250, 68),
    words(220, 60, 'k, v', 'small'),
    grid(260, 60, 1, 3, { text: (_, c) => [2, 0, 3][c], wide: 24, name: 'block table of a text' }),
    [0, 1, 2, 3].map((b) => [
      grid(400 + b * 58, 60, 1, 8, {
        look: (_, c) =>
          b === 2 || b === 0 || (b === 3 && c < 5)
            ? ['a', b === 3 && c === 4 ? 1 : 0.35]
            : undefined,
        wide: 6,
        size: 30,
      }),
      words(424 + b * 58, 108, `block ${b}`, 'small'),
    ]),
    arrow(336, 68, 396, 68),
    words(514, 140, '32 tokens each, of any text', 'small'),
  ),

  attention: picture(
    'Attention over blocks',
    190,
    words(20, 40, 'q', 'left'),
    grid(40, 28, 1, 4, { look: () => 'a', name: '', wide: 14 }),
    words(68, 62, 'token t', 'small'),
    grid(150, 28, 1, 16, {
      look: (_, c) => (c >= 3 && c <= 12 ? 'b' : undefined),
      wide: 20,
      name: 'keys of its text',
    }),
    [0, 4, 8, 12].map((c) => line(`M${150 + c * 20} 22V50`)),
    words(220, 62, 'starts[t]', 'small'),
    words(400, 62, 'ends[t]', 'small'),
    Array.from({ length: 10 }, (_, i) => {
      const height = [6, 14, 4, 22, 10, 34, 8, 16, 28, 40][i]
      return `<rect x="${213 + i * 20}" y="${118 - height}" width="14" height="${height}" class="a"/>`
    }),
    words(480, 104, 'softmax(scale × q · k)', 'left'),
    words(480, 122, 'with sinks, with biases', 'left small'),
    grid(150, 140, 1, 16, { look: (_, c) => (c >= 3 && c <= 12 ? 'c' : undefined), wide: 20 }),
    words(480, 153, 'sum of values', 'left'),
  ),

  latentCache: picture(
    'What latent attention keeps',
    130,
    grid(20, 50, 1, 12, {
      look: (_, c) => (c < 9 ? 'a' : 'b'),
      wide: 14,
      name: 'latent[t] = [c, r]',
      shape: '[C + R]',
    }),
    arrow(192, 52, 240, 40),
    arrow(192, 64, 240, 84),
    box(244, 24, 110, 30, 'scale × norm(c)'),
    box(244, 70, 110, 30, 'rotated r'),
    arrow(358, 40, 404, 56),
    arrow(358, 84, 404, 62),
    grid(410, 50, 1, 12, {
      look: (_, c) => (c < 9 ? 'a' : 'b'),
      wide: 14,
      name: 'one row of the cache',
      shape: 'for all heads',
    }),
  ),

  latentAttention: picture(
    'Latent attention, absorbed',
    180,
    [0, 1, 2].map((n) => [
      words(28, 53 + n * 40, `q${n}`),
      grid(44, 40 + n * 40, 1, 12, { look: (_, c) => (c < 9 ? ['a', 0.5] : ['b', 0.5]), wide: 8 }),
      arrow(144, 48 + n * 40, 226, 88),
    ]),
    words(92, 166, 'N heads', 'small'),
    grid(236, 40, 6, 12, { look: (_, c) => (c < 9 ? 'a' : 'b'), wide: 14 }),
    words(320, 30, 'rows of the cache, read once'),
    line('M236 142v6h168v-6'),
    words(320, 160, 'key: C + R values', 'small'),
    line('M236 168v4h126v-4', 'hot'),
    words(424, 174, 'value: the first C', 'left small'),
    arrow(410, 88, 450, 88),
    grid(460, 64, 3, 9, { look: () => 'c', wide: 14, name: 'out', shape: '[T, N, C]' }),
  ),

  headLinear: picture(
    'A projection for each head',
    150,
    [0, 1, 2].map((n) => [
      grid(30, 30 + n * 36, 1, 6, { look: (_, c) => (c < 2 ? undefined : experts[n]) }),
      words(150, 43 + n * 36, '·'),
      grid(170, 24 + n * 36, 2, 4, { look: () => [experts[n], 0.5], size: 14 }),
      arrow(244, 38 + n * 36, 300, 38 + n * 36),
      grid(310, 30 + n * 36, 1, 4, { look: () => experts[n] }),
      words(400, 43 + n * 36, `head ${n}`, 'left small'),
    ]),
    words(78, 20, 'x'),
    words(198, 16, 'W of the head'),
    words(342, 20, 'out'),
  ),

  causalPair: picture(
    'Rows beside those before them',
    140,
    grid(30, 36, 4, 4, { look: (r) => experts[r], name: 'x', shape: '[T, H]' }),
    arrow(104, 68, 190, 68),
    grid(200, 36, 4, 8, {
      look: (r, c) => (c % 2 ? experts[r] : r ? experts[r - 1] : 'e'),
      name: 'out',
      shape: '[T, 2 H]',
    }),
    words(350, 48, 'first row: the state of its block', 'left small'),
    words(350, 72, 'values of the row before and its own in turns:', 'left small'),
    words(350, 88, 'a convolution of two taps is one product', 'left small'),
  ),

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

  patches: picture(
    'Patches of an image',
    150,
    grid(40, 30, 6, 6, {
      look: (r, c) => experts[2 * Math.floor(r / 3) + Math.floor(c / 3)],
      name: 'image',
      shape: '[rows, columns, channels]',
    }),
    arrow(146, 78, 226, 78),
    grid(236, 46, 4, 9, {
      look: (r) => experts[r],
      name: 'one row a patch',
      shape: '[patches, pixels × channels]',
    }),
  ),

  imageTokens: picture(
    'Tokens of an image',
    150,
    grid(30, 34, 5, 6, { look: (r) => (r ? experts[r - 1] : 'e'), shape: '[N, H]' }),
    words(78, 26, 'class token, patches'),
    words(148, 78, '+'),
    grid(168, 34, 5, 6, { look: shades('e'), name: 'positions', shape: '[N, H]' }),
    arrow(272, 74, 320, 74),
    grid(330, 34, 5, 6, { look: shades('c'), name: 'out', shape: '[B, N, H]' }),
  ),

  segmentMean: picture(
    'Means of segments',
    140,
    grid(30, 30, 5, 6, { look: (r) => experts[r < 3 ? 0 : 1], name: 'x', shape: '[T, H]' }),
    arrow(134, 54, 226, 62),
    arrow(134, 94, 226, 78),
    words(180, 108, 'mean of each', 'small'),
    grid(236, 54, 2, 6, { look: (r) => experts[r], name: 'out', shape: '[B, H]' }),
  ),

  lora: picture(
    'A low-rank pair beside a projection',
    150,
    grid(20, 60, 1, 8, { look: () => 'a', name: 'x', shape: '[K]' }),
    arrow(152, 60, 196, 40),
    arrow(152, 76, 196, 104),
    box(200, 22, 180, 34, 'W x, the projection'),
    grid(200, 84, 2, 8, { look: () => ['b', 0.7], name: '', shape: 'A [r, K]' }),
    arrow(332, 100, 356, 100),
    grid(362, 76, 6, 2, { look: () => ['c', 0.7], size: 8, wide: 10 }),
    words(372, 140, 'B [r, N]', 'small'),
    arrow(384, 40, 470, 62),
    arrow(388, 100, 470, 78),
    words(440, 108, '× scale', 'small'),
    words(482, 75, '+'),
    arrow(494, 70, 530, 70),
    words(552, 75, 'out'),
  ),

  gatedUnit: picture(
    'A gated unit',
    120,
    grid(30, 44, 2, 12, {
      look: (_, c) => (c < 6 ? 'a' : 'b'),
      name: 'x = [gate, up]',
      shape: '[T, 2 I]',
    }),
    arrow(228, 60, 260, 60),
    box(264, 42, 130, 36, 'act(gate) × up'),
    arrow(398, 60, 430, 60),
    grid(438, 44, 2, 6, { look: () => 'c', name: 'out', shape: '[T, I]' }),
  ),

  sample: picture(
    'Sampling',
    150,
    [20, 60, 34, 80, 12, 46, 26, 8].map(
      (h, i) => `<rect x="${30 + i * 18}" y="${110 - h}" width="13" height="${h}" class="e"/>`,
    ),
    words(100, 130, 'logits, biases, masks, penalties', 'small'),
    arrow(186, 76, 226, 76),
    [20, 60, 34, 80, 12, 46, 26, 8].map(
      (h, i) =>
        `<rect x="${240 + i * 18}" y="${110 - h}" width="13" height="${h}" class="${h > 30 ? 'a' : 'off'}"/>`,
    ),
    words(310, 130, 'top-k, top-p, min-p', 'small'),
    arrow(396, 76, 436, 76),
    [60, 34, 80, 46].map(
      (h, i) =>
        `<rect x="${450 + [0, 60, 94, 174][i] * 0.7}" y="66" width="${h * 0.7 - 2}" height="20" class="${i === 2 ? 'c' : 'a'}"/>`,
    ),
    line('M550 52V64', 'hot arrow'),
    words(550, 46, 'draw of (seed, step)', 'small'),
    words(528, 104, 'one id', 'small'),
  ),
}

const folder = new URL('kernels/', import.meta.url)
const check = process.argv.includes('--check')
mkdirSync(folder, { recursive: true })
for (const [name, svg] of Object.entries(drawn)) {
  const file = new URL(`${name}.svg`, folder)
  if (!check) writeFileSync(file, svg)
  else if (readFileSync(file, 'utf8') !== svg)
    throw new Error(`docs/pictures/kernels/${name}.svg: node docs/pictures/draw.mjs`)
}
