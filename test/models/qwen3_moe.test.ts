import { goldenFamily } from '../support/family.ts'

goldenFamily('qwen3_moe', ['base-f32', 'dense-tied-bf16', 'step-yarn-f32', 'window-f32'])
