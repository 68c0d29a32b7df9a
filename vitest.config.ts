import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

// The workers alone run with a sanitizer's runtime (scripts/sanitize.sh): what vitest is made of is not built for one.
const { MOE_TEST_PRELOAD: preload } = process.env
if (preload) process.env.LD_PRELOAD = preload

/** Files that take longest, the first of them first: one that began last would be waited for. */
export const longest = [
  'test/ops.test.ts',
  'test/bits/gpu.test.ts',
  'test/cuda/packed.test.ts',
  'test/cuda/fusion.test.ts',
  'test/models/trained.test.ts',
  'test/bits/latent_attention.test.ts',
  'test/cuda/attention_bits.test.ts',
  'test/models/quantized.test.ts',
  'test/lifecycle/cycles.test.ts',
  'test/weights/memory.test.ts',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ project, moduleId }: TestSpecification) => {
      const at = longest.indexOf(path.relative(project.vitest.config.root, moduleId))
      return at < 0 ? longest.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

// For a machine that does other things, too. Kernels on the simulated GPU run on one thread: a worker for each core.
const shared = {
  ...{ testTimeout: 180_000, hookTimeout: 180_000, expect: { poll: { timeout: 150_000 } } },
  maxWorkers: Math.max(2, availableParallelism() - 1),
}

const native = {
  test: {
    name: 'native',
    include: ['test/**/*.test.ts'],
    ...shared,
  },
}

// Models run a second time on the simulated GPU: all that is asynchronous late, warps descending.
const cudaSim = {
  test: {
    name: 'cuda-sim',
    include: ['test/models/*.test.ts'],
    env: { MOE_TEST_DEVICE: 'cuda-sim:3' },
    ...shared,
  },
}

// test/sim/CMakeLists.txt says where it is built.
const simulator = existsSync(new URL('build/Release/libmoe_cuda_sim.so', import.meta.url))
if (!simulator)
  console.log('test project cuda-sim is left out: this build has no simulator (x86-64 Linux only)')

export default defineConfig({
  test: {
    projects: simulator ? [native, cudaSim] : [native],
    sequence: { sequencer: LongestFirst },
  },
})
