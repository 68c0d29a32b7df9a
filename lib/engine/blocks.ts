/** How a cache's blocks are used. */
export interface BlockCounts {
  /** All blocks; each holds 32 tokens. */
  size: number
  /** Without a user, among them `cached`. */
  free: number
  /** Without a user, but their tokens are known: they serve texts that begin the same way. */
  cached: number
  /** Cached ones whose place was needed. */
  evictions: number
}

/**
 * The blocks of the key/value cache: which are free, how many sequences share each of the others, and under which
 * hash a full one is found again. A block with a hash is never written to.
 *
 * Free blocks are a list in the order in which they are taken: those without a hash, then the one that was given back
 * first.
 */
export class BlockPool {
  readonly size: number
  readonly #users: Uint32Array
  /** Neighbours in the list of free blocks, which `size` begins and ends. */
  readonly #before: Int32Array
  readonly #behind: Int32Array
  readonly #hashes: (string | undefined)[]
  readonly #byHash = new Map<string, number>()
  #free = 0
  #cached = 0
  #evictions = 0

  constructor(size: number) {
    this.size = size
    this.#users = new Uint32Array(size)
    this.#before = new Int32Array(size + 1).fill(size)
    this.#behind = new Int32Array(size + 1).fill(size)
    this.#hashes = new Array(size).fill(undefined)
    for (let block = 0; block < size; block++) this.#insert(block, this.#before[size]!)
  }

  get free(): number {
    return this.#free
  }

  get counts(): BlockCounts {
    const { size } = this
    return { size, free: this.#free, cached: this.#cached, evictions: this.#evictions }
  }

  /** A free block, for tokens of the caller. */
  take(): number {
    const block = this.#behind[this.size]!
    if (this.#hashes[block] !== undefined) this.#evictions++
    this.forget(block)
    this.#remove(block)
    this.#users[block] = 1
    return block
  }

  /** One more user of a block, which may be free and cached. */
  share(block: number): void {
    if (this.#users[block]!++ > 0) return
    this.#remove(block)
    if (this.#hashes[block] !== undefined) this.#cached--
  }

  shared(block: number): boolean {
    return this.#users[block]! > 1
  }

  release(block: number): void {
    if (--this.#users[block]! > 0) return
    const registered = this.#hashes[block] !== undefined
    if (registered) this.#cached++
    this.#insert(block, registered ? this.#before[this.size]! : this.size)
  }

  /** The block that holds the tokens of this hash. */
  find(hash: string): number | undefined {
    return this.#byHash.get(hash)
  }

  registered(block: number): boolean {
    return this.#hashes[block] !== undefined
  }

  /** Makes a full block known. Where another has these tokens, that one stays the known one. */
  register(block: number, hash: string): void {
    if (this.#hashes[block] !== undefined || this.#byHash.has(hash)) return
    this.#hashes[block] = hash
    this.#byHash.set(hash, block)
  }

  /** Before a block is written to. */
  forget(block: number): void {
    const hash = this.#hashes[block]
    if (hash === undefined) return
    this.#hashes[block] = undefined
    this.#byHash.delete(hash)
    if (this.#users[block] === 0) this.#cached--
  }

  #insert(block: number, behind: number): void {
    const next = this.#behind[behind]!
    this.#behind[behind] = block
    this.#before[block] = behind
    this.#behind[block] = next
    this.#before[next] = block
    this.#free++
  }

  #remove(block: number): void {
    const before = this.#before[block]!
    const behind = this.#behind[block]!
    this.#behind[before] = behind
    this.#before[behind] = before
    this.#free--
  }
}
