// What is run on a GPU, in the order in which an error is found with the least behind it: kernels without wgmma before
// those with it, single ops before models, all of it before the sanitizers, right results before fast ones.

export const parts = ['tests', 'sanitizers', 'bench', 'tune']

/**
 * Steps of a part: name, `seconds` of a part of ten minutes, and what to run: `tests` (arguments of vitest), `node` (a
 * script's), or a `command`. `needs` is a program without which the step is left out.
 */
export function stepsOf(part, device, out) {
  const simulated = device.startsWith('cuda-sim') // so that all of it can be tried without a GPU
  const ops = (names = '') => ['test/ops.test.ts', '-t', `ops on .${device}.${names}`]
  const sanitizer = (tool, names) => ({
    ...{ name: tool, seconds: 190, needs: 'compute-sanitizer', tests: ops(names) },
    prefix: [
      'compute-sanitizer',
      '--tool',
      tool,
      '--target-processes',
      'all',
      '--error-exitcode',
      '99',
    ],
  })
  const bench = (names, models, tokens, ...more) => [
    ...['dist/cli/main.js', 'bench', ...names, '--device', device, '--json', ...more],
    ...(simulated
      ? ['--models', 'tiny', '--tokens', '1,9', '--seconds', '0']
      : ['--models', models, '--tokens', tokens, '--seconds', '0.1']),
  ]
  const tiny = simulated ? ['--tiny', '--rounds', '1'] : []
  const steps = {
    tests: [
      // The driver, an image for the GPU, copies, and the first wgmma in the ceiling of the matrix rate.
      { name: 'first', seconds: 20, node: bench(['rmsNorm'], 'moepp', '1') },
      // Kernels for sm_80 run on every newer GPU: the same cases hold them to the same f64 reference.
      {
        ...{ name: 'mma-sync', seconds: 60, tests: ops('.*(linear|grouped_gemm)') },
        env: { MOE_CUDA_CAPABILITY: '80' },
      },
      { name: 'wgmma', seconds: 60, tests: ops('.*(linear|grouped_gemm)') },
      { name: 'ops', seconds: 150, tests: ops() },
      { name: 'fused', seconds: 40, tests: ['test/cuda/fusion.test.ts'] },
      {
        ...{ name: 'models', seconds: 150 },
        tests: ['test/models', 'test/routers', 'test/engine/batching.test.ts'],
      },
      { name: 'devices', seconds: 20, tests: ['test/cuda/device.test.ts'] },
      {
        ...{ name: 'repeat', seconds: 80 },
        node: [
          'scripts/gpu_check/repeat.mjs',
          '--device',
          device,
          '--times',
          simulated ? '1' : '20',
        ],
      },
    ],
    sanitizers: [
      sanitizer('memcheck'),
      sanitizer('racecheck', '.*(attention|linear|grouped_gemm|top_k|sample)'),
      sanitizer('synccheck', '.*(attention|linear|grouped_gemm|top_k|sample)'),
    ],
    bench: [
      {
        ...{ name: 'grouped-gemm', seconds: 100 },
        node: bench(['groupedGemm'], 'yuan,moepp', '1,8,64,256,512,4096'),
      },
      {
        ...{ name: 'small', seconds: 120 },
        node: bench(
          [
            'ropeAttention',
            'attention',
            'route',
            'sample',
            'ropeCache',
            'normLinear',
            'gatherGemm',
          ],
          'yuan,moepp',
          '1,8,4096',
        ),
      },
      {
        ...{ name: 'models', seconds: 340 },
        node: ['bench/headlines.mjs', 'models', '--device', device, '--json', ...tiny],
      },
    ],
    tune: [
      {
        ...{ name: 'profile', seconds: 100, needs: 'ncu' },
        command: [
          ...[
            'ncu',
            '--clock-control',
            'none',
            '--set',
            'full',
            '-f',
            '-o',
            `${out}/profile`,
            '-c',
            '30',
          ],
          ...[
            '-k',
            'regex:attend|route_few|norm_linear_few|gemm_few_rows|gemm_warpgroups',
            process.execPath,
          ],
          ...bench(['groupedGemm', 'route', 'attention'], 'yuan', '1,4096', '--seconds', '0'),
        ],
      },
      { name: 'kernels', seconds: 240, node: bench([], 'yuan,moepp,mixtral', '1,8,64,512,4096') },
      {
        ...{ name: 'routings', seconds: 60 },
        node: bench(['groupedGemm'], 'yuan,moepp', '8,512,4096', '--routings', 'zipf,one,empty'),
      },
      {
        ...{ name: 'experts', seconds: 60 },
        node: ['bench/headlines.mjs', 'experts', '--device', device, '--json', ...tiny],
      },
      {
        ...{ name: 'torch', seconds: 100, needs: 'python3' },
        command: ['python3', 'bench/peers/torch/run.py', '--json', `${out}/torch.json`],
      },
    ],
  }
  return simulated ? steps[part].filter(({ name }) => name !== 'torch') : steps[part]
}
