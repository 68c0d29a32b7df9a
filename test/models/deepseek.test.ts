import { goldenFamily } from '../support/family.ts'

goldenFamily('deepseek', ['base-f32', 'linear-f32', 'norm-gqa-bf16'])
