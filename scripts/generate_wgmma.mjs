// Writes cuda/device/wgmma.cuh: node scripts/generate_wgmma.mjs && node scripts/clang_format.mjs -i
import { writeFileSync } from 'node:fs'

const widths = [32, 64, 96, 128, 160, 192, 224, 256]
const attentionWidths = [64, 96, 128, 256]

const list = (from, count, each) =>
  Array.from({ length: count }, (_, i) => each(from + i)).join(', ')

/** The instruction for B of N outputs: every accumulator, then A, then the descriptor of B. */
function instruction(name, N, rows) {
  const sums = N / 2
  const operand = (i) => `%${i}`
  return `
template <>
__device__ __forceinline__ void ${name}<${N}>(float (&d)[${sums}], const uint32_t (&a)[4], uint64_t descriptor) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n${N}k16.f32.bf16.bf16 "
${lines(`{${list(0, sums, operand)}}, `)}
      "{${list(sums, 4, operand)}}, %${sums + 4}, 1, 1, 1, ${rows};"
      : ${list(0, sums, (i) => `"+f"(d[${i}])`)}
      : ${list(0, 4, (i) => `"r"(a[${i}])`)}, "l"(descriptor));
}
`
}

/** A string in pieces that fit a line. */
function lines(text) {
  const pieces = text.match(/.{1,88}(?<=\s)/g)
  return pieces.map((piece) => `      "${piece}"`).join('\n')
}

writeFileSync(
  new URL('../cuda/device/wgmma.cuh', import.meta.url),
  `#pragma once
// Made by scripts/generate_wgmma.mjs. wgmma with A in registers and B in shared memory, for each width
// that kernels use. An instruction names every accumulator, so there is no shorter way to
// write them.

#include <cuda_runtime.h>

#include <cstdint>

namespace moe {

/// d += A B, one warpgroup: A [64, 16] from registers, B [N, 16] by descriptor, both bf16.
template <int N>
__device__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t descriptor);

/// The same of B [16, N], by wgmma_rows_descriptor().
template <int N>
__device__ void wgmma_rows(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t descriptor);

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
${widths.map((N) => instruction('wgmma', N, 0)).join('')}${attentionWidths.map((N) => instruction('wgmma_rows', N, 1)).join('')}
#endif

}  // namespace moe
`,
)
