import { goldenFamily } from '../support/family.ts'

goldenFamily('longcat_flash', ['base-f32', 'bf16'])
