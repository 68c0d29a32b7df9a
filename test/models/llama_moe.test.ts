import { goldenFamily } from '../support/family.ts'

goldenFamily('llama_moe', ['base-f32', 'linear-gate-f32', 'sizes-bf16'])
