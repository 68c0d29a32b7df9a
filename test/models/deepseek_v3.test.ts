import { goldenFamily } from '../support/family.ts'

goldenFamily('deepseek_v3', ['base-f32', 'yarn-bf16'])
