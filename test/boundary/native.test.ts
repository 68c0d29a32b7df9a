import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { failure } from '../support/files.ts'
import { root } from '../support/golden.ts'

// Native code never trusts its caller, not even lib/.

const { tensor, tensorFrom, pack, MappedFile, Plan, Arena, Tensor, Weight } = native()
const plan = () => new Plan(new Arena())
const f32 = (...shape: number[]) => tensor(shape, 'f32')

describe('exports', () => {
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

describe('hostile calls throw MoeError and do not crash', () => {
  const any = (value: unknown) => value as any
  it.each<[string, () => unknown, string]>([
    [
      'an object that is no tensor',
      () => plan().embedding(any({}), f32(1), f32(1)),
      'ERR_MOE_OPTION',
    ],
    [
      'a tensor where a plan is expected',
      () => Plan.prototype.empty.call(any(f32(1)), [1], 'f32'),
      'TypeError',
    ],
    [
      'a plan where a tensor is expected',
      () => plan().embedding(any(plan()), f32(1), f32(1)),
      'ERR_MOE_OPTION',
    ],
    [
      'nothing where a tensor is expected',
      () => plan().rmsNorm(any(undefined), f32(1), f32(1), 1),
      'ERR_MOE_OPTION',
    ],
    [
      'a tensor made by hand',
      () => plan().rmsNorm(new Tensor(), f32(1), f32(1), 1),
      'ERR_MOE_OPTION',
    ],
    ['an unknown dtype', () => tensor([1], any('f8')), 'ERR_MOE_DTYPE'],
    ['an unknown format', () => new Weight([1, 1], any('f8')), 'ERR_MOE_DTYPE'],
    ['a weight of one dimension', () => new Weight([1], 'f32'), 'ERR_MOE_SHAPE'],
    ['a weight without a shape', () => new Weight(any(undefined), 'f32'), 'ERR_MOE_SHAPE'],
    ['a tensor where a weight is expected', () => pack(any(f32(2, 2)), []), 'ERR_MOE_OPTION'],
    ['nothing where a weight is expected', () => pack(any(undefined), []), 'ERR_MOE_OPTION'],
    [
      'a weight where a tensor is expected',
      () => plan().embedding(any(new Weight([1, 1], 'f32')), f32(1), f32(1)),
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
        void recorded.run([], [], 1)
        recorded.empty([1], 'f32')
      },
      'ERR_MOE_OPTION',
    ],
    ['input of another shape', () => plan().run([[f32(1), f32(2)]], [], 1), 'ERR_MOE_SHAPE'],
    ['input from nothing', () => plan().run([[f32(1), any(undefined)]], [], 1), 'ERR_MOE_SHAPE'],
    [
      'input that was never computed',
      () => plan().run([[f32(1), plan().empty([1], 'f32')]], [], 1),
      'ERR_MOE_OPTION',
    ],
    ['too much input', () => plan().run([[f32(1), new Float32Array(2)]], [], 1), 'ERR_MOE_SHAPE'],
  ])('%s', async (_, call, code) => {
    const error = await failure(call)
    expect(error.code ?? error.name).toBe(code)
    expect(error.name).toBe(code === 'TypeError' ? 'TypeError' : 'MoeError')
  })
})
