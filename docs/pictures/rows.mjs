// Pictures of kernels: projections, norms, attention, and what is before and behind them.
import { arrow, box, experts, grid, line, picture, row, shades, words } from './shapes.mjs'

export default {
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
