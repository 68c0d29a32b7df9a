import { execFileSync } from 'node:child_process'

// Inner loops of the GEMM kernels that touch the stack: sums that do not stay in registers. Needs objdump.

export interface InnerLoop {
  name: string
  at: string
  multiplyAdds: number
  /** Accesses to the stack. */
  stack: number
}

/** Of floats, and of integers. */
export const products = { floats: /vfmadd|vdpbf16ps|vfnmadd/, integers: /vpdpbusd|vpmadd/ }
const isStack = (line: string) => /\(%r[sb]p/.test(line)

/** Innermost loops with at least `minimum` of these instructions of the functions whose name matches. */
export function innerLoops(
  object: string,
  functions: RegExp,
  instructions: RegExp,
  minimum: number,
): InnerLoop[] {
  const text = execFileSync('objdump', ['-d', '--no-show-raw-insn', object], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  return text.split(/\n\n(?=[0-9a-f]+ <)/).flatMap((block) => {
    const name = /<(.*)>:/.exec(block)?.[1]
    if (!name || !functions.test(name)) return []
    const lines = block.split('\n').map((line) => ({ at: Number.parseInt(line, 16), line }))
    const jumps = lines.flatMap(({ at, line }) => {
      const target = Number.parseInt(/\sj\w+\s+([0-9a-f]+)/.exec(line)?.[1] ?? '', 16)
      return target < at ? [{ from: target, to: at }] : []
    })
    const inner = jumps.filter(
      (a) => !jumps.some((b) => b !== a && b.from >= a.from && b.to <= a.to),
    )
    return inner.flatMap(({ from, to }) => {
      const body = lines.filter(({ at }) => at >= from && at <= to).map(({ line }) => line)
      const multiplyAdds = body.filter((line) => instructions.test(line)).length
      return multiplyAdds < minimum
        ? []
        : [{ name, at: from.toString(16), multiplyAdds, stack: body.filter(isStack).length }]
    })
  })
}
