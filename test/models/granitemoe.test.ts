import { goldenFamily } from '../support/family.ts'

goldenFamily('granitemoe', ['base-f32', 'tied-bf16', 'shared-f32'])
