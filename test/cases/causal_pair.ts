import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, type OpCase, reshape, toF64 } from './case.ts'

type Shape = { chunks: [start: number, tokens: number][]; C: number }

const block = 32

export const causalPair: OpCase<Shape> = {
  op: 'causal_pair',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { chunks: [[0, 1]], C: 16 }, //                      a prompt of one token
    {
      chunks: [
        [0, 5],
        [7, 1],
        [31, 3],
      ],
      C: 7,
    }, //      prefill, decode, a chunk across a block's edge
    {
      chunks: [
        [32, 1],
        [33, 40],
      ],
      C: 3,
    }, //            a block's first token, a chunk over several blocks
    {
      chunks: [
        [0, 2],
        [30, 4],
        [31, 1],
      ],
      C: 8,
    }, //            few tokens, one chunk over the edge of the block whose state it reads
    { chunks: [[0, 70]], C: 4 },
    { chunks: [], C: 4 },
  ],
  inputs({ chunks, C }, random, dtype) {
    const M = 4
    const blocks = Math.max(1, M * chunks.length)
    const order = Array.from({ length: blocks }, (_, i) => i).sort(() => random.uniform() - 0.5)
    const tokens = chunks.flatMap(([start, n], s) =>
      Array.from({ length: n }, (_, i) => ({ s, position: start + i })),
    )
    const T = tokens.length
    const slot = ({ s, position }: { s: number; position: number }) =>
      order[s * M + Math.floor(position / block)]! * block + (position % block)
    return {
      x: random.tensor([T, C], dtype),
      state: random.tensor([blocks, C], dtype),
      positions: ints([T], (t) => tokens[t]!.position),
      slots: ints([T], (t) => slot(tokens[t]!)),
      sequences: ints([T], (t) => tokens[t]!.s),
      blockTable: ints([chunks.length, M], (i) => order[i]!),
    }
  },
  run: (i, options) => kernels.causalPair(i, options),
  reference({ x, state, positions, slots, sequences, blockTable }, { C }) {
    const [xs, old] = [toF64(x), toF64(state)]
    const T = x.shape[0]
    const out = new Float64Array(2 * T * C)
    const next = old.slice()
    for (let t = 0; t < T; t++) {
      const position = positions.data[t]
      const first = t === 0 || sequences.data[t] !== sequences.data[t - 1]
      const b = blockTable.data[sequences.data[t] * 4 + Math.floor((position - 1) / block)]
      for (let c = 0; c < C; c++) {
        out[2 * (t * C + c)] = !first ? xs[(t - 1) * C + c]! : position > 0 ? old[b * C + c]! : 0
        out[2 * (t * C + c) + 1] = xs[t * C + c]!
        next[Math.floor(slots.data[t] / block) * C + c] = xs[t * C + c]! // the block's last token stays
      }
    }
    return { out: { exact: out }, state: { exact: next } }
  },
  terms: () => 0,
  rejects: [
    [
      'a state of another width',
      'ERR_MOE_SHAPE',
      'state',
      (i) => ({ ...i, state: reshape(i.state, [i.state.shape[0], 1, i.state.shape[1]]) }),
    ],
    [
      'a slot beyond the state',
      'ERR_MOE_OPTION',
      'slots',
      (i) => ({ ...i, slots: ints(i.slots.shape, () => 1e6) }),
    ],
    [
      'a sequence beyond the block table',
      'ERR_MOE_OPTION',
      'sequences',
      (i) => ({ ...i, sequences: ints(i.sequences.shape, () => 9) }),
    ],
  ],
}
