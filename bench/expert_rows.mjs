// Share of the matrix rate that the experts' GEMMs reach, by rows an expert: OLMoE's and Qwen3-30B-A3B's shapes, on the CPU.
//   node bench/expert_rows.mjs [--models olmoe,qwen3_moe] [--rows 4,8,16,32,64] [--dtype bf16|f32] [--rounds 5] [--json]
// GEMM and probe take turns, and the fastest of each counts: other programs only ever take time away.
import { parseArgs } from 'node:util'
import { groupedGemm } from '../build/modules/bench/kernels/gemm.js'
import { modelShapes } from '../build/modules/bench/shapes.js'
import { Workbench } from '../build/modules/bench/workbench.js'
import { openDevice } from '../build/modules/device.js'
import { native } from '../build/modules/native.js'

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'olmoe,qwen3_moe' },
    rows: { type: 'string', default: '4,8,16,32,64' },
    dtype: { type: 'string', default: 'bf16' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean' },
  },
})
const device = openDevice('cpu')
const { threads } = native().cpu()
/** Work per second. */
async function probe(kind) {
  const { work, seconds } = await native().probe(kind, threads)
  return work / seconds
}
const kind = values.dtype === 'bf16' && (await probe('bf16_dot')) > 0 ? 'bf16_dot' : 'f32'

const results = []
for (const model of values.models.split(',')) {
  const shape = modelShapes[model]
  for (const rows of values.rows.split(',').map(Number)) {
    const tokens = [Math.round((rows * shape.kinds.length) / shape.topK)]
    const bench = new Workbench(device, values.dtype, false)
    for await (const one of groupedGemm.make({ shape, tokens, routings: ['uniform'] }, bench)) {
      let [seconds, rate, read] = [Number.POSITIVE_INFINITY, 0, 0]
      for (let round = 0; round < Number(values.rounds); round++) {
        rate = Math.max(rate, await probe(kind))
        read = Math.max(read, await probe('read'))
        seconds = Math.min(seconds, (await bench.time(one.record, 0.1)).min)
      }
      const result = {
        ...{ model, rows, tokens: tokens[0], shape: one.shape, seconds },
        shareOfMatrixRate: one.flops / seconds / rate,
        shareOfRead: one.bytes / seconds / read,
        ...{ matrixGflops: rate / 1e9, readGBps: read / 1e9 },
      }
      results.push(result)
      if (!values.json)
        console.log(
          `${model.padEnd(10)} ${String(rows).padStart(3)} rows  ${one.shape.padEnd(26)} ${result.shareOfMatrixRate.toFixed(2)} of the matrix rate  ${result.shareOfRead.toFixed(2)} of the read rate`,
        )
    }
    bench.release()
  }
}
const { name, isa } = device.info
if (values.json)
  console.log(JSON.stringify({ cpu: name, isa, threads, dtype: values.dtype, results }, null, 2))
