import { defineConfig } from 'vitest/config'

const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 }

// Models run a second time on the simulated GPU: all that is asynchronous late, warps descending.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'native',
          include: ['test/**/*.test.ts'],
          sequence: { groupOrder: 0 },
          ...timeouts,
        },
      },
      {
        test: {
          name: 'cuda-sim',
          include: ['test/models/{mixtral,moepp,yuan,trained,bf16}.test.ts'],
          env: { MOE_TEST_DEVICE: 'cuda-sim:3' },
          sequence: { groupOrder: 1 }, // after the tests that look at the clock
          maxWorkers: 2,
          ...timeouts,
        },
      },
    ],
  },
})
