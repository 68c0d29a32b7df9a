import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from './golden.ts'

// What the CUDA compiler says of the kernels, where CMake has built the CUDA backend. Kernels that must stay in registers
// spill nothing, on every architecture; no register exchange was ignored and no wgmma serialised; and the PTX of the
// kernels that live from special instructions has them.

const tree = path.join(root, 'build-cmake', `${process.platform}-${process.arch}`)
const logs = path.join(tree, 'CMakeFiles', 'moe_cuda.dir', 'cuda')

/** Kernels that are bound by their inner loops. */
export const inRegisters =
  /gemm_few_rows|gemm_tile|gemm_warpgroups|attend|route_few|norm_linear|pair_few|combine|permute|rms_norm|layer_norm|top_k/

/** Instructions that a kernel file is written for, in its PTX for an architecture. */
export const instructions: [file: string, architecture: string, pattern: RegExp][] = [
  ['gemm/gemm_warpgroup.cu', 'sm_90a', /wgmma\.mma_async\.sync\.aligned\.m64n256k16/],
  ['gemm/gemm_warpgroup.cu', 'sm_90a', /cp\.async\.bulk\.tensor\.2d/],
  ['gemm/gemm_warpgroup.cu', 'sm_90a', /setmaxnreg\.inc/],
  ['gemm/gemm_warpgroup.cu', 'sm_90a', /stmatrix\.sync\.aligned\.m8n8\.x2\.trans/],
  ['gemm/gemm_warpgroup.cu', 'sm_90a', /griddepcontrol\.wait/],
  ['gemm/gemm_tiles.cu', 'sm_80', /mma\.sync\.aligned\.m16n8k16/],
  ['gemm/gemm_tiles.cu', 'sm_80', /cp\.async\.cg/],
  ['gemm/gemm_few.cu', 'sm_80', /ld\.global\.nc\.L1::no_allocate/],
  ['attention/attention_prefill.cu', 'sm_80', /ldmatrix\.sync\.aligned\.m8n8\.x4\.trans/],
]

/** The CUDA compiler of the build; undefined when the backend was not built here. */
export function compiler(): string | undefined {
  if (!existsSync(logs)) return undefined
  const files = path.join(tree, 'CMakeFiles')
  const found = readdirSync(files)
    .map((version) => path.join(files, version, 'CMakeCUDACompiler.cmake'))
    .find((file) => existsSync(file))
  return found === undefined
    ? undefined
    : /set\(CMAKE_CUDA_COMPILER "(.+)"\)/.exec(readFileSync(found, 'utf8'))?.[1]
}

export interface CompiledKernel {
  file: string
  name: string
  architecture: string
  /** Bytes. */
  spilled: number
  registers: number
}

/** ptxas's numbers: one entry for each kernel and architecture. */
export function kernels(): CompiledKernel[] {
  return (readdirSync(logs, { recursive: true }) as string[])
    .filter((file) => file.endsWith('.cu.o.log'))
    .flatMap((file) =>
      readFileSync(path.join(logs, file), 'utf8')
        .split("Compiling entry function '")
        .slice(1)
        .map((part) => ({
          file: file.replace(/\.o\.log$/, ''),
          name: part.slice(0, part.indexOf("'")),
          architecture: /for '(\w+)'/.exec(part)![1]!,
          spilled: Number(/(\d+) bytes spill stores/.exec(part)?.[1] ?? 0),
          registers: Number(/Used (\d+) registers/.exec(part)?.[1] ?? 0),
        })),
    )
}

/** Lines in which the compiler says that it did not do what the source asks for. */
export function complaints(): string[] {
  return (readdirSync(logs, { recursive: true }) as string[])
    .filter((file) => file.endsWith('.cu.o.log'))
    .flatMap((file) =>
      readFileSync(path.join(logs, file), 'utf8')
        .split('\n')
        .filter((line) => /setmaxnreg|serializ/i.test(line)),
    )
}

/** Instructions that are missing where they must be. */
export function missing(): string[] {
  const nvcc = compiler()!
  const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-ptx-'))
  const ptx = new Map<string, string>()
  const made = (file: string, architecture: string): string => {
    const key = `${path.basename(file)}.${architecture}`
    if (!ptx.has(key)) {
      const to = path.join(folder, `${key}.ptx`)
      const include = ['device', '.'].flatMap((dir) => ['-I', path.join(root, 'cuda', dir)])
      const flags = ['-std=c++20', '--expt-relaxed-constexpr', '-diag-suppress=20012,177']
      execFileSync(nvcc, [
        ...['-ptx', `-arch=${architecture}`, ...flags, ...include, '-I', path.join(root, 'csrc')],
        ...[path.join(root, 'cuda', file), '-o', to],
      ])
      ptx.set(key, readFileSync(to, 'utf8'))
    }
    return ptx.get(key)!
  }
  return instructions
    .filter(([file, architecture, pattern]) => !pattern.test(made(file, architecture)))
    .map(([file, architecture, pattern]) => `${file} for ${architecture} has no ${pattern.source}`)
}
