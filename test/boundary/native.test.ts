import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { failure } from '../support/files.ts'
import { root } from '../support/golden.ts'

// Native code never trusts its caller, not even lib/.

const { tensor, tensorFrom, pack, MappedFile, Plan, Arena, Tensor, Weight } = native()
const plan = () => new Plan(new Arena())
const f32 = (...shape: number[]) => tensor(shape, 'f32')
const rmsNorm = (fields: object) => plan().record('rmsNorm', { eps: 1, weight: f32(1), ...fields })

describe('exports', () => {
  it('ops are those that lib/ops was made of', () => {
    const script = `${root}/scripts/generate_ops.mjs`
    expect(() =>
      execFileSync(process.execPath, [script, '--check'], { stdio: 'pipe' }),
    ).not.toThrow()
  })

  it('are those that lib/native.ts declares', () => {
    const source = readFileSync(`${root}/lib/native.ts`, 'utf8')
    const members = (name: string) => {
      const body = new RegExp(`export interface ${name} \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)![1]!
      return [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map((match) => match[1]).sort()
    }
    expect(Object.keys(native()).sort()).toEqual(members('Native'))
    const names = (type: new (...args: any[]) => object) =>
      Object.getOwnPropertyNames(type.prototype)
        .filter((name) => name !== 'constructor')
        .sort()
    expect(names(Plan)).toEqual(members('Plan'))
    expect(names(Tensor)).toEqual(members('Tensor'))
    expect(names(Weight)).toEqual(members('Weight'))
    expect(names(MappedFile)).toEqual(members('MappedFile'))
  })
})

const withInput = () => {
  const recorded = plan()
  recorded.input('x', [1], 'f32')
  return recorded
}

describe('hostile calls throw MoeError and do not crash', () => {
  const any = (value: unknown) => value as any
  it.each<[string, () => unknown, string]>([
    ['an object that is no tensor', () => rmsNorm({ x: {} }), 'ERR_MOE_OPTION'],
    [
      'a tensor where a plan is expected',
      () => Plan.prototype.record.call(any(f32(1)), 'rmsNorm', {}),
      'TypeError',
    ],
    ['a plan where a tensor is expected', () => rmsNorm({ x: plan() }), 'ERR_MOE_OPTION'],
    ['nothing where a tensor is expected', () => rmsNorm({}), 'ERR_MOE_OPTION'],
    ['a tensor made by hand', () => rmsNorm({ x: new Tensor() }), 'ERR_MOE_OPTION'],
    [
      'text where a number is expected',
      () => rmsNorm({ x: f32(1, 1), eps: '1' }),
      'ERR_MOE_OPTION',
    ],
    ['a field that is not there', () => rmsNorm({ x: f32(1, 1), epsilon: 1 }), 'ERR_MOE_OPTION'],
    ['an op that is not there', () => plan().record('rmsnorm', {}), 'ERR_MOE_OPTION'],
    ['an op without a name', () => plan().record(any(7), {}), 'ERR_MOE_OPTION'],
    ['no fields', () => plan().record('rmsNorm', any(undefined)), 'ERR_MOE_OPTION'],
    ['a list of fields', () => plan().record('rmsNorm', []), 'ERR_MOE_OPTION'],
    ['an unknown dtype', () => tensor([1], any('f8')), 'ERR_MOE_DTYPE'],
    ['an unknown format', () => new Weight([1, 1], any('f8')), 'ERR_MOE_DTYPE'],
    ['a weight of one dimension', () => new Weight([1], 'f32'), 'ERR_MOE_SHAPE'],
    ['a weight without a shape', () => new Weight(any(undefined), 'f32'), 'ERR_MOE_SHAPE'],
    ['a tensor where a weight is expected', () => pack(any(f32(2, 2)), []), 'ERR_MOE_OPTION'],
    ['nothing where a weight is expected', () => pack(any(undefined), []), 'ERR_MOE_OPTION'],
    [
      'a weight where a tensor is expected',
      () => rmsNorm({ x: new Weight([1, 1], 'f32') }),
      'ERR_MOE_OPTION',
    ],
    [
      'a weight that nothing was packed into',
      () => plan().record('linear', { x: f32(1, 1), weight: new Weight([1, 1], 'f32') }),
      'ERR_MOE_OPTION',
    ],
    [
      'a tensor where an op expects a weight',
      () => plan().record('linear', { x: f32(1, 1), weight: f32(1, 1) }),
      'ERR_MOE_OPTION',
    ],
    [
      'tensors where an op expects weights',
      () => plan().record('groupedGemm', { x: f32(1, 1), offsets: f32(2), weights: [f32(1, 1)] }),
      'ERR_MOE_OPTION',
    ],
    ['a negative size', () => tensor([-1], 'f32'), 'ERR_MOE_SHAPE'],
    ['NaN as size', () => tensor([Number.NaN], 'f32'), 'ERR_MOE_SHAPE'],
    ['five dimensions', () => tensor([1, 1, 1, 1, 1], 'f32'), 'ERR_MOE_SHAPE'],
    ['no shape', () => tensor(any(7), 'f32'), 'ERR_MOE_SHAPE'],
    ['a gate_up weight of odd rows', () => new Weight([3, 4], 'f32', true), 'ERR_MOE_SHAPE'],
    ['data of another length', () => tensorFrom(new Float32Array(3), [4], 'f32'), 'ERR_MOE_SHAPE'],
    [
      'data of another element size',
      () => tensorFrom(new Uint8Array(4), [4], 'f32'),
      'ERR_MOE_SHAPE',
    ],
    ['columns outside', () => f32(2, 3).columns(2, 2), 'ERR_MOE_OPTION'],
    ['more than there is', () => tensor([4], 'f32').view(2, [3], 'f32'), 'ERR_MOE_OPTION'],
    ['a view before the start', () => tensor([4], 'f32').view(-1, [1], 'f32'), 'ERR_MOE_OPTION'],
    ['a view of wider elements', () => tensor([4], 'u8').view(0, [1], 'f32'), 'ERR_MOE_DTYPE'],
    ['a view of a matrix', () => f32(2, 3).view(0, [1], 'f32'), 'ERR_MOE_SHAPE'],
    ['a file that is not there', () => new MappedFile(['/no/such/file']), 'ERR_MOE_CHECKPOINT'],
    ['no files', () => new MappedFile([]), 'ERR_MOE_OPTION'],
    [
      'a read beyond the file',
      () => new MappedFile([`${root}/package.json`]).read(1e9, 8),
      'ERR_MOE_CHECKPOINT',
    ],
    [
      'a tensor beyond the file',
      () => new MappedFile([`${root}/package.json`]).tensor(0, [1e9], 'f32'),
      'ERR_MOE_CHECKPOINT',
    ],
    [
      'rows beyond the source',
      () => pack(new Weight([4, 2], 'f32'), [[f32(2, 2), 0, 4]]),
      'ERR_MOE_OPTION',
    ],
    [
      'rows of another width',
      () => pack(new Weight([2, 3], 'f32'), [[f32(2, 2), 0, 2]]),
      'ERR_MOE_SHAPE',
    ],
    ['too few rows', () => pack(new Weight([4, 2], 'f32'), [[f32(2, 2), 0, 2]]), 'ERR_MOE_SHAPE'],
    ['an instruction set that is not there', () => native().selectIsa('mmx'), 'ERR_MOE_OPTION'],
    [
      'an op recorded after the first run',
      async () => {
        const recorded = plan()
        void recorded.run({}, 1)
        recorded.record('rmsNorm', { x: f32(1, 1), weight: f32(1), eps: 1 })
      },
      'ERR_MOE_OPTION',
    ],
    [
      'two inputs of one name',
      () => {
        const recorded = plan()
        recorded.input('x', [1], 'f32')
        recorded.input('x', [1], 'f32')
      },
      'ERR_MOE_OPTION',
    ],
    ['no inputs', () => plan().run(any(undefined), 1), 'ERR_MOE_OPTION'],
    ['an input that the plan has not', () => plan().run({ y: f32(1) }, 1), 'ERR_MOE_OPTION'],
    ['input of another shape', () => withInput().run({ x: f32(2) }, 1), 'ERR_MOE_SHAPE'],
    ['input that is not given', () => withInput().run({}, 1), 'ERR_MOE_OPTION'],
    [
      'input that was never computed',
      () => withInput().run({ x: plan().input('y', [1], 'f32') }, 1),
      'ERR_MOE_OPTION',
    ],
    ['too much input', () => withInput().run({ x: new Float32Array(2) }, 1), 'ERR_MOE_SHAPE'],
    [
      'input of wider elements',
      () => withInput().run({ x: any(new Float64Array(1)) }, 1),
      'ERR_MOE_SHAPE',
    ],
    ['an output of nothing', () => plan().output('x', any(undefined)), 'ERR_MOE_OPTION'],
  ])('%s', async (_, call, code) => {
    const error = await failure(call)
    expect(error.code ?? error.name).toBe(code)
    expect(error.name).toBe(code === 'TypeError' ? 'TypeError' : 'MoeError')
  })
})
