import { MoeError } from '../errors.ts'
import { short } from '../weights/safetensors.ts'

/** A tensor as a PyTorch pickle describes it. */
export interface PickledTensor {
  /** Member `data/<key>` of the archive. */
  storage: { key: string; dtype: string; elements: number }
  offset: number
  shape: number[]
  stride: number[]
}

/** Storage classes, the only `torch` names that are known, as safetensors dtypes. */
const storageTypes = new Map(
  Object.entries({
    DoubleStorage: 'F64',
    FloatStorage: 'F32',
    HalfStorage: 'F16',
    BFloat16Storage: 'BF16',
    LongStorage: 'I64',
    IntStorage: 'I32',
    ShortStorage: 'I16',
    CharStorage: 'I8',
    ByteStorage: 'U8',
    BoolStorage: 'BOOL',
  }),
)

class StorageType {
  readonly dtype: string
  constructor(dtype: string) {
    this.dtype = dtype
  }
}

class Storage {
  readonly key: string
  readonly dtype: string
  readonly elements: number
  constructor(key: string, dtype: string, elements: number) {
    this.key = key
    this.dtype = dtype
    this.elements = elements
  }
}

class Tensor implements PickledTensor {
  readonly storage: Storage
  readonly offset: number
  readonly shape: number[]
  readonly stride: number[]
  constructor(storage: Storage, offset: number, shape: number[], stride: number[]) {
    this.storage = storage
    this.offset = offset
    this.shape = shape
    this.stride = stride
  }
}

/** A callable that a pickle may name; nothing else can be called. */
type Callable = (args: unknown[]) => unknown

const mark = Symbol('mark')
const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((v) => Number.isSafeInteger(v) && v >= 0)

/**
 * A restricted pickle reader. It runs a small stack machine that can build numbers, strings, lists, tuples,
 * dictionaries and tensors, and executes nothing: an opcode or a global that a state dictionary does not need
 * is refused by name.
 */
class Unpickler {
  readonly #label: string
  readonly #view: DataView
  readonly #stack: unknown[] = []
  readonly #memo = new Map<number, unknown>()
  #at = 0

  constructor(label: string, view: DataView) {
    this.#label = label
    this.#view = view
  }

  #refuse(what: string): never {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${this.#label}: pickle must hold tensors only, got ${what}`,
    )
  }

  #damaged(what: string): never {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${this.#label}: pickle must be whole, got ${what}`)
  }

  #skip(bytes: number): number {
    const at = this.#at
    this.#at += bytes
    if (this.#at > this.#view.byteLength) this.#damaged('a truncated one')
    return at
  }

  readonly #u8 = (): number => this.#view.getUint8(this.#skip(1))
  readonly #u16 = (): number => this.#view.getUint16(this.#skip(2), true)
  readonly #u32 = (): number => this.#view.getUint32(this.#skip(4), true)

  #text(bytes: number): string {
    const at = this.#skip(bytes)
    return new TextDecoder().decode(
      new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, bytes),
    )
  }

  #line(): string {
    const start = this.#at
    while (this.#u8() !== 10);
    const length = this.#at - 1 - start
    this.#at = start
    const line = this.#text(length)
    this.#at++
    return line
  }

  #long(bytes: number): number {
    let value = 0n
    const at = this.#skip(bytes)
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#view.getUint8(at + i))
    if (bytes > 0 && this.#view.getUint8(at + bytes - 1) >= 128) value -= 1n << BigInt(8 * bytes)
    return Number(value)
  }

  #pop(): unknown {
    if (this.#stack.length === 0) this.#damaged('an empty stack')
    return this.#stack.pop()
  }

  #popMark(): unknown[] {
    const at = this.#stack.lastIndexOf(mark)
    if (at < 0) this.#damaged('a missing mark')
    const items = this.#stack.splice(at)
    return items.slice(1)
  }

  #top<T>(type: new (...args: never[]) => T): T {
    const value = this.#stack.at(-1)
    if (!(value instanceof type)) this.#damaged('a value of another type')
    return value
  }

  #global(module: string, name: string): unknown {
    const storage = module === 'torch' ? storageTypes.get(name) : undefined
    if (storage) return new StorageType(storage)
    const callables = new Map<string, Callable>(
      Object.entries({
        'collections.OrderedDict': () => new Map(),
        'torch._utils._rebuild_tensor_v2': (args: unknown[]) => this.#tensor(args),
        'torch._utils._rebuild_parameter': ([tensor]: unknown[]) => tensor,
      }),
    )
    return (
      callables.get(`${module}.${name}`) ?? this.#refuse(`the global ${short(`${module}.${name}`)}`)
    )
  }

  #tensor([storage, offset, shape, stride]: unknown[]): Tensor {
    if (!(storage instanceof Storage) || !isSizes([offset]) || !isSizes(shape) || !isSizes(stride))
      return this.#damaged('a tensor without storage, shape and stride')
    return new Tensor(storage, offset as number, shape, stride)
  }

  #persistent(id: unknown): Storage {
    const [kind, type, key, , elements] = Array.isArray(id) ? id : []
    if (
      kind !== 'storage' ||
      !(type instanceof StorageType) ||
      typeof key !== 'string' ||
      !isSizes([elements])
    )
      return this.#refuse('a persistent id that is no storage')
    return new Storage(key, type.dtype, elements as number)
  }

  #setItems(items: unknown[]): void {
    const map = this.#top(Map) as Map<unknown, unknown>
    for (let i = 0; i + 1 < items.length; i += 2) map.set(items[i], items[i + 1])
  }

  #reduce(): unknown {
    const args = this.#pop()
    const callable = this.#pop()
    if (typeof callable !== 'function' || !Array.isArray(args))
      return this.#refuse('a call of something unknown')
    return (callable as Callable)(args)
  }

  #get(index: number): unknown {
    if (!this.#memo.has(index)) this.#damaged(`a memo without ${index}`)
    return this.#memo.get(index)
  }

  run(): unknown {
    const push = (value: unknown) => this.#stack.push(value)
    const put = (index: number) => this.#memo.set(index, this.#stack.at(-1))
    const tuple = (n: number) => push(Array.from({ length: n }, () => this.#pop()).reverse())
    const opcodes: Record<number, () => unknown> = {
      128: () => this.#u8(), //                                       PROTO
      149: () => this.#skip(8), //                                    FRAME
      40: () => push(mark), //                                        MARK
      48: () => this.#pop(), //                                       POP
      78: () => push(undefined), //                                   NONE
      136: () => push(true), //                                       NEWTRUE
      137: () => push(false), //                                      NEWFALSE
      74: () => push(this.#view.getInt32(this.#skip(4), true)), //    BININT
      75: () => push(this.#u8()), //                                  BININT1
      77: () => push(this.#u16()), //                                 BININT2
      138: () => push(this.#long(this.#u8())), //                     LONG1
      71: () => push(this.#view.getFloat64(this.#skip(8))), //        BINFLOAT
      88: () => push(this.#text(this.#u32())), //                     BINUNICODE
      140: () => push(this.#text(this.#u8())), //                     SHORT_BINUNICODE
      41: () => push([]), //                                          EMPTY_TUPLE
      93: () => push([]), //                                          EMPTY_LIST
      125: () => push(new Map()), //                                  EMPTY_DICT
      116: () => push(this.#popMark()), //                            TUPLE
      133: () => tuple(1), //                                         TUPLE1
      134: () => tuple(2), //                                         TUPLE2
      135: () => tuple(3), //                                         TUPLE3
      97: () => {
        const value = this.#pop()
        this.#top(Array).push(value) //                               APPEND
      },
      101: () => {
        const items = this.#popMark()
        const list = this.#top(Array)
        for (const item of items) list.push(item) //                  APPENDS
      },
      115: () => this.#setItems([this.#pop(), this.#pop()].reverse()), // SETITEM
      117: () => this.#setItems(this.#popMark()), //                  SETITEMS
      98: () => this.#pop(), //                                       BUILD: attributes such as _metadata
      99: () => push(this.#global(this.#line(), this.#line())), //    GLOBAL
      147: () => {
        const [name, module] = [this.#pop(), this.#pop()]
        if (typeof name !== 'string' || typeof module !== 'string')
          return this.#refuse('a global without a name')
        return push(this.#global(module, name)) //                    STACK_GLOBAL
      },
      82: () => push(this.#reduce()), //                              REDUCE
      81: () => push(this.#persistent(this.#pop())), //               BINPERSID
      113: () => put(this.#u8()), //                                  BINPUT
      114: () => put(this.#u32()), //                                 LONG_BINPUT
      148: () => put(this.#memo.size), //                             MEMOIZE
      104: () => push(this.#get(this.#u8())), //                      BINGET
      106: () => push(this.#get(this.#u32())), //                     LONG_BINGET
    }
    for (;;) {
      const opcode = this.#u8()
      if (opcode === 46) return this.#pop() //                        STOP
      const run = opcodes[opcode] ?? this.#refuse(`the opcode 0x${opcode.toString(16)}`)
      run()
    }
  }
}

/**
 * The tensors of a pickled state dictionary, by name.
 *
 * @throws {MoeError} ERR_MOE_UNSUPPORTED for anything that is not a dictionary of tensors, ERR_MOE_CHECKPOINT
 *   for a damaged pickle
 */
export function readStateDict(label: string, pickle: DataView): Map<string, PickledTensor> {
  const root = new Unpickler(label, pickle).run()
  if (!(root instanceof Map))
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: pickle must hold a dictionary, got another value`,
    )
  for (const [name, value] of root)
    if (typeof name !== 'string' || !(value instanceof Tensor))
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${label}: ${typeof name === 'string' ? short(name) : 'a key'} must be a tensor, got another value`,
      )
  return root as Map<string, PickledTensor>
}
