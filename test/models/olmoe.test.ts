import { goldenFamily } from '../support/family.ts'

goldenFamily('olmoe', ['base-f32', 'bias-tied-f32', 'clip-gqa-bf16'])
