import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

// The workers alone run with a sanitizer's runtime (scripts/sanitize.sh): what vitest is made of is not built for one.
const { MOE_TEST_PRELOAD: preload } = process.env
if (preload) process.env.LD_PRELOAD = preload

const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 }

const native = {
  test: {
    name: 'native',
    include: ['test/**/*.test.ts'],
    sequence: { groupOrder: 0 },
    ...timeouts,
  },
}

// Models run a second time on the simulated GPU: all that is asynchronous late, warps descending.
const cudaSim = {
  test: {
    name: 'cuda-sim',
    include: ['test/models/*.test.ts'],
    env: { MOE_TEST_DEVICE: 'cuda-sim:3' },
    sequence: { groupOrder: 1 }, // after the tests that look at the clock
    maxWorkers: 2,
    ...timeouts,
  },
}

// test/sim/CMakeLists.txt says where it is built.
const simulator = existsSync(new URL('build/Release/libmoe_cuda_sim.so', import.meta.url))
if (!simulator)
  console.log('test project cuda-sim is left out: this build has no simulator (x86-64 Linux only)')

export default defineConfig({ test: { projects: simulator ? [native, cudaSim] : [native] } })
