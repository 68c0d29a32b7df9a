import { describe, expect, it } from 'vitest'
import {
  compiler,
  complaints,
  inRegisters,
  keptPtx,
  kernels,
  missing,
} from '../support/cuda_gates.ts'
import { earlyAccesses } from '../support/ptx.ts'

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

  it('touches nothing but weights before it waits for the kernel before', () => {
    const dependent = keptPtx().filter(({ architecture }) => !/^sm_[78]/.test(architecture))
    expect(dependent.length).toBeGreaterThan(60)
    for (const { file, architecture, text } of dependent)
      expect(earlyAccesses(text), `${file} for ${architecture}`).toEqual([])
  })
})

describe('PTX before griddepcontrol.wait', () => {
  const kernel = (before: string, after = '') =>
    `.visible .entry k(\n\t.param .u64 k_0\n)\n{\n.reg .b64 %rd<3>;\nld.param.u64 %rd1, [k_0];\n${before}\ngriddepcontrol.wait;\n${after}\nret;\n}\n`

  it.each([
    ['weights', 'ld.global.nc.L1::no_allocate.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];'],
    ['shared memory and a branch', '@%p1 bra $L1;\nst.shared.u32 [%r1], %r2;\n$L1:'],
    ['a guess', 'ld.relaxed.gpu.global.s32 %r1, [%rd1];'],
    ['a prefetch', 'cp.async.bulk.prefetch.L2.global [%rd1], %r1;'],
  ])('allows %s', (_, before) => {
    expect(
      earlyAccesses(kernel(before, 'ld.global.f32 %f1, [%rd1];\nst.global.f32 [%rd1], %f1;')),
    ).toEqual([])
  })

  it.each([
    ['a read', 'ld.global.f32 %f1, [%rd1];', /ld\.global\.f32/],
    ['a read of any memory', 'ld.f32 %f1, [%rd1];', /ld\.f32/],
    ['a write on one way', '@%p1 bra $L1;\nst.global.f32 [%rd1], %f1;\n$L1:', /st\.global/],
    ['an atomic', '@%p2 atom.global.add.u32 %r1, [%rd1], 1;', /atom\.global/],
    ['a copy', 'cp.async.cg.shared.global [%r1], [%rd1], 16;', /cp\.async/],
    ['a way around the wait', '@%p1 bra $L9;', /without griddepcontrol\.wait/],
  ])('finds %s', (_, before, what) => {
    expect(earlyAccesses(kernel(before, '$L9:')).join()).toMatch(what)
  })
})
