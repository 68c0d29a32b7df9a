import { goldenFamily } from '../support/family.ts'

goldenFamily('qwen2_moe', ['base-f32', 'norm-dense-bf16', 'step-nobias-f32'])
