import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './golden.ts'

// What the CUDA compiler says of the kernels, where CMake has built the CUDA backend. Kernels that must stay in registers
// spill nothing, on every architecture; no register exchange was ignored and no wgmma serialised; and the PTX of the
// kernels that live from special instructions has them.

const tree = path.join(root, 'build-cmake', `${process.platform}-${process.arch}`)
const logs = path.join(tree, 'CMakeFiles', 'moe_cuda.dir', 'cuda')

/** Kernels that are bound by their inner loops. */
export const inRegisters =
  /gemm_few_rows|gemm_tile|gemm_warpgroups|attend|route_few|norm_linear|pair_few|combine|permute|rms_norm|layer_norm|top_k|weigh|walk/

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
  // Compiled for sm_90, without wgmma, that kernel must not end as if it had done its work.
  ['gemm/gemm_warpgroup.cu', 'sm_90', /\btrap;/],
  ['attention/attention_warpgroup.cu', 'sm_90a', /wgmma\.mma_async\.sync\.aligned\.m64n256k16/],
  ['attention/attention_warpgroup.cu', 'sm_90a', /fence\.proxy\.async/],
  ['attention/attention_warpgroup.cu', 'sm_90', /\btrap;/],
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

/** The PTX of each kernel file, as the build kept it: 'gemm/gemm_few.cu', 'sm_90a'. */
export function keptPtx(): { file: string; architecture: string; text: string }[] {
  return (readdirSync(logs, { recursive: true }) as string[])
    .filter((file) => file.endsWith('.ptx') && file.includes('.cu.o.ptx/'))
    .map((file) => {
      const text = readFileSync(path.join(logs, file), 'utf8')
      const architecture = /^\.target\s+(\w+)/m.exec(text)![1]!
      return { file: file.replace(/\.o\.ptx\/.*$/, ''), architecture, text }
    })
}

/** Instructions that are missing where they must be. */
export function missing(): string[] {
  const ptx = new Map(keptPtx().map((one) => [`${one.file} for ${one.architecture}`, one.text]))
  return instructions
    .filter(
      ([file, architecture, pattern]) =>
        !pattern.test(ptx.get(`${file} for ${architecture}`) ?? ''),
    )
    .map(([file, architecture, pattern]) => `${file} for ${architecture} has no ${pattern.source}`)
}
