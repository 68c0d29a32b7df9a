import { describe, expect, it } from 'vitest'
import { compiler, complaints, inRegisters, kernels, missing } from '../support/cuda_gates.ts'

describe.skipIf(!compiler())('what the CUDA compiler says (where there is one)', () => {
  it('compiles for the oldest, the main and a newer architecture', () => {
    const architectures = new Set(kernels().map(({ architecture }) => architecture))
    for (const architecture of ['sm_80', 'sm_90a', 'sm_120'])
      expect(architectures).toContain(architecture)
  })

  it('keeps the listed kernels in registers', () => {
    const listed = kernels().filter(({ name }) => inRegisters.test(name))
    expect(listed.length).toBeGreaterThan(30)
    expect(listed.filter(({ spilled }) => spilled > 0)).toEqual([])
  })

  it('ignores no register exchange and serialises no wgmma', () => {
    expect(complaints()).toEqual([])
  })

  it('has wgmma, tensor copies and the other instructions that kernels are written for', () => {
    expect(missing()).toEqual([])
  })
})
