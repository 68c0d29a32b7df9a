import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'
import { innerLoops, products } from '../support/spills.ts'

const addon = `${root}/build/Release/moe_native.node`
/** What this checkout has built: the addon, the CUDA backend, the simulator, and those of the package. */
const binaries = ['build/Release', `prebuilds/linux-${process.arch}`]
  .map((folder) => path.join(root, folder))
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((file) => path.join(folder, file)))
  .filter((file) => /\.(node|so)$/.test(file))
/** Object files of the kernels, of the ordinary build. */
const objects = (): string[] =>
  readdirSync(`${root}/build-cmake/${process.platform}-${process.arch}`, {
    recursive: true,
    encoding: 'utf8',
  })
    .filter((file) => /moe_kernels_\w+\.dir.*\.o$/.test(file))
    .map((file) => path.join(root, `build-cmake/${process.platform}-${process.arch}`, file))
const nm = (...args: string[]): string => execFileSync('nm', args, { encoding: 'utf8' })

describe.skipIf(process.platform !== 'linux' || !existsSync(addon))(
  'the binary (Linux, built here)',
  () => {
    it('exports what Node asks for and nothing of the C++ library', () => {
      const names = nm('-D', '--defined-only', addon)
        .trim()
        .split('\n')
        .map((line) => line.split(' ').at(-1))
      expect(names.sort()).toEqual([
        'napi_register_module_v1',
        'node_api_module_get_api_version_v1',
      ])
    })

    it('kernels of an instruction set share no weak symbol with another', () => {
      const tree = path.join(root, 'build-cmake', `${process.platform}-${process.arch}`)
      const objects = readdirSync(tree, { recursive: true, encoding: 'utf8' })
        .filter((file) => /moe_kernels_\w+\.dir.*\.o$/.test(file))
        .map((file) => path.join(tree, file))
      expect(objects.length).toBeGreaterThan(0)
      for (const object of objects) expect(nm('--defined-only', object)).not.toMatch(/ [WVu] /)
    })

    const loopsOf = (isas: string[], functions: RegExp, kind: keyof typeof products) =>
      isas.flatMap((isa) =>
        objects()
          .filter((file) => file.includes(`moe_kernels_${isa}.dir`))
          .flatMap((file) => innerLoops(file, functions, products[kind], 8)),
      )

    it('keeps the sums of GEMM loops in registers', () => {
      const floats = loopsOf(['avx2', 'avx512', 'avx512bf16'], /gemm_(?!int|mxfp4)/, 'floats')
      const integers = loopsOf(['avx2vnni', 'avx512vnni', 'avx512bf16'], /integer_tile/, 'integers')
      if (process.arch === 'x64')
        expect(Math.min(floats.length, integers.length)).toBeGreaterThan(10)
      expect([...floats, ...integers].filter(({ stack }) => stack > 0)).toEqual([])
    })

    it('moves sums of integer tiles to the stack only where 16-bit ones stand beside them', () => {
      // Without VNNI a tile has both, and a few more than there are registers: once a fold.
      for (const { name, stack, multiplyAdds } of loopsOf(
        ['avx2', 'avx512'],
        /integer_tile/,
        'integers',
      ))
        expect(stack, name).toBeLessThan(0.4 * multiplyAdds)
    })

    // Ubuntu 22.04 has glibc 2.35, RHEL 9 2.34.
    it.each(binaries)('%s needs glibc 2.34 at most, and no C++ runtime', (file) => {
      const needed = execFileSync('objdump', ['-p', file], { encoding: 'utf8' })
      expect(needed).not.toMatch(/NEEDED\s+(libstdc\+\+|libgomp)/)
      const minors = [...needed.matchAll(/ GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
      expect(minors.length).toBeGreaterThan(0)
      expect(Math.max(...minors)).toBeLessThanOrEqual(34)
      expect(needed).not.toMatch(/ (GLIBCXX|CXXABI)_/)
    })
  },
)
