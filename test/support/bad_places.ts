import { ints, type OpCase } from '../cases/case.ts'

type Rejects = OpCase<never>['rejects']

/** What ops that read the cache refuse of where their tokens stand. */
export const badPlaces: Rejects = [
  [
    'a position beyond the block table',
    'ERR_MOE_OPTION',
    'positions',
    (i) => ({ ...i, positions: ints(i.positions.shape, () => 1e6) }),
  ],
  [
    'a start behind the position',
    'ERR_MOE_OPTION',
    'starts',
    (i) => ({ ...i, starts: ints(i.starts.shape, () => 1e5) }),
  ],
  [
    'a block beyond the cache',
    'ERR_MOE_OPTION',
    'blockTable',
    (i) => ({ ...i, blockTable: ints(i.blockTable.shape, () => 999) }),
  ],
]

/** What ops that write the cache refuse; their rotary tables have 50 positions. */
export const badSlots: Rejects = [
  [
    'a position beyond the table',
    'ERR_MOE_OPTION',
    'positions',
    (i) => ({ ...i, positions: ints(i.positions.shape, () => 50) }),
  ],
  [
    'a slot beyond the cache',
    'ERR_MOE_OPTION',
    'slots',
    (i) => ({ ...i, slots: ints(i.slots.shape, () => 1e6) }),
  ],
]
