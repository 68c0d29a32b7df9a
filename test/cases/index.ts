import { attention } from './attention.ts'
import { attentionRouter } from './attention_router.ts'
import type { OpCase } from './case.ts'
import { causalPair } from './causal_pair.ts'
import { combine } from './combine.ts'
import { embedding } from './embedding.ts'
import { gatherRows } from './gather_rows.ts'
import { groupedGemm } from './grouped_gemm.ts'
import { linear } from './linear.ts'
import { permute } from './permute.ts'
import { rmsNorm } from './rms_norm.ts'
import { ropeCache } from './rope_cache.ts'
import { sample } from './sample.ts'
import { topK } from './top_k.ts'

export const cases: OpCase[] = [
  attention,
  attentionRouter,
  causalPair,
  combine,
  embedding,
  gatherRows,
  groupedGemm,
  linear,
  permute,
  rmsNorm,
  ropeCache,
  sample,
  topK,
]
