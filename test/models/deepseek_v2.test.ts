import { goldenFamily } from '../support/family.ts'

goldenFamily('deepseek_v2', ['lite-yarn-f32', 'groups-qlora-f32', 'lite-bf16'])
