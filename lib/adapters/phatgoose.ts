import path from 'node:path'
import { MoeError } from '../errors.ts'
import type { LowRank, Module } from '../layers/projection.ts'
import { type Gpu, native, type Plan, type Tensor, type Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { type Entry, openSafetensors, short } from '../weights/safetensors.ts'
import { loadPair, openEntry } from './pairs.ts'
import { type PhatgooseConfig, readPhatgooseConfig } from './phatgoose_config.ts'

/** What the published code adds to the sum of the chosen probabilities. */
const sumEpsilon = 1e-6

/** The experts of one module. */
interface ModuleExperts {
  /** [experts, inputs] f32: gate vectors, normed and divided by sqrt(inputs). */
  router: Weight
  /** Weights of the norm of x, which has none of its own: [inputs] ones. */
  ones: Tensor
  /** One an expert. */
  pairs: Tensor[]
}

const parts = {
  gate: 'router.expert_embeddings',
  down: 'expert_lora.layer1',
  up: 'expert_lora.layer2',
} as const

/** What the experts of a folder are, and the memory that they take. */
export interface PhatgooseInfo {
  /** Experts beside each module. */
  experts: number
  topK: number
  rank: number
  /** How many modules have them. */
  modules: number
  bytes: number
}

/**
 * What the experts of a checkpoint's folder would take; undefined where it has none. Reads no weights.
 *
 * @param modules of the graph
 */
export function describePhatgoose(
  dir: string,
  modules: readonly Module[],
  gpu: Gpu | undefined,
): PhatgooseInfo | undefined {
  const config = readPhatgooseConfig(dir)
  if (!config) return undefined
  const { count: experts, rank, topK } = config
  const names = [...openSafetensors([path.join(dir, 'experts.safetensors')]).keys()]
  const found = new Set(names.map((name) => name.slice(0, name.indexOf('._addons.'))))
  const own = modules.filter(({ name }) => found.has(name))
  const { Weight, tensor } = native()
  const bytes = own.reduce((sum, { inputs, outputs }) => {
    const pair = tensor([rank, inputs + outputs], 'f32', gpu, true).bytes
    const router = new Weight([experts, inputs], 'f32', false, gpu).bytes
    return sum + experts * pair + router + tensor([inputs], 'f32', gpu, true).bytes
  }, 0)
  return { experts, topK, rank, modules: own.length, bytes }
}

/** An entry of these dimensions. */
function entryOf(entries: ReadonlyMap<string, Entry>, file: string, name: string, shape: number[]) {
  const entry = entries.get(name)
  const got = entry ? `[${entry.shape.join(', ')}]` : 'nothing'
  const same = entry?.shape.length === shape.length && shape.every((n, i) => n === entry.shape[i])
  if (!entry || !same)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${file}: tensor ${short(name)} must be [${shape.join(', ')}], got ${got}`,
    )
  return entry
}

/**
 * PHATGOOSE (arXiv:2402.05859, section 3; r-three/phatgoose): beside each module some low-rank experts, of which each
 * row chooses for itself, by gate vectors that were trained one expert at a time.
 *
 *   p = softmax_i(norm(x) . norm(v_i) / sqrt(inputs))
 *   y = W x + scaling * sum over the topK largest p of p_i / (their sum + 1e-6) * (x A_i) B_i
 */
export class Phatgoose implements LowRank {
  readonly tensors: (Tensor | Weight)[] = []
  readonly #config: PhatgooseConfig
  readonly #modules = new Map<string, ModuleExperts>()

  private constructor(config: PhatgooseConfig) {
    this.#config = config
  }

  /**
   * The experts of a checkpoint's folder; undefined where it has none.
   *
   * @param modules of the graph
   * @throws {MoeError} ERR_MOE_CHECKPOINT, ERR_MOE_UNSUPPORTED naming the key or the tensor
   */
  static async open(
    dir: string,
    modules: readonly Module[],
    gpu: Gpu | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Phatgoose | undefined> {
    const config = readPhatgooseConfig(dir)
    if (!config) return undefined
    const file = path.join(dir, 'experts.safetensors')
    const entries = openSafetensors([file])
    const found = new Set<string>()
    for (const { name } of entries.values()) {
      const [, module, part, expert] = /^(.+)\._addons\.(.+)__(\d+)$/.exec(name) ?? []
      if (
        !module ||
        !Object.values<string>(parts).includes(part!) ||
        Number(expert) >= config.count
      )
        throw new MoeError(
          'ERR_MOE_CHECKPOINT',
          `${file}: tensor ${short(name)} must be of one of ${config.count} experts of a module`,
        )
      found.add(module)
    }
    const experts = new Phatgoose(config)
    try {
      for (const name of found) {
        signal?.throwIfAborted()
        const module = modules.find((one) => one.name === name)
        if (!module)
          throw new MoeError(
            'ERR_MOE_UNSUPPORTED',
            `${file}: tensors must be of modules of this model that take adapters, got ${short(name)}`,
          )
        await experts.#load(module, entries, file, gpu)
      }
      return experts
    } catch (error) {
      for (const tensor of experts.tensors) tensor.release()
      throw error
    }
  }

  async #load(
    { name, inputs, outputs }: Module,
    entries: ReadonlyMap<string, Entry>,
    file: string,
    gpu: Gpu | undefined,
  ): Promise<void> {
    const { count, rank, scaling, eps } = this.#config
    const own = <T extends Tensor | Weight>(tensor: T): T => {
      this.tensors.push(tensor)
      return tensor
    }
    const gates: Tensor[] = []
    const pairs: Tensor[] = []
    for (let i = 0; i < count; i++) {
      const part = (of: keyof typeof parts, shape: number[]) =>
        entryOf(entries, file, `${name}._addons.${parts[of]}__${i}`, shape)
      gates.push(openEntry(part('gate', [inputs])))
      const a = { entry: part('down', [inputs, rank]), turned: true }
      const b = { entry: part('up', [rank, outputs]), turned: false }
      pairs.push(own(await loadPair(a, b, scaling, gpu)))
    }
    const router = own(new (native().Weight)([count, inputs], 'f32', false, gpu))
    await native().pack(router, [[await normed(gates, inputs, eps), 0, count]])
    const ones = own(native().tensorFrom(new Float32Array(inputs).fill(1), [inputs], 'f32', gpu))
    this.#modules.set(name, { router, ones, pairs })
  }

  add(
    plan: Plan,
    x: Tensor,
    modules: readonly Module[],
    residual?: Tensor,
    scale?: number,
  ): Tensor | undefined {
    const { count, topK, normalized, eps } = this.#config
    const kinds = Array<ops.ExpertKind>(count).fill('ffn')
    const width = modules.reduce((n, { outputs }) => n + outputs, 0)
    const epsilon = normalized ? sumEpsilon : 0
    let sum = residual
    let unit: Tensor | undefined // all modules here read the same rows
    let column = 0
    for (const { name, outputs } of modules) {
      const experts = this.#modules.get(name)
      if (experts) {
        const { router, ones: weight, pairs } = experts
        unit ??= ops.layerNorm(plan, { x, weight, eps }).out
        const logits = ops.linear(plan, { x: unit, weight: router }).out
        const { ids, weights } = ops.topK(plan, { logits, kinds, topK, weights: 'scores' })
        const chosen = { x, ids, weights, pairs, columns: [column] }
        sum = ops.lora(plan, { ...chosen, residual: sum, width, scale, epsilon }).out
      }
      column += outputs
    }
    return sum
  }
}

/** Gate vectors as the router's rows: normed to mean 0 and variance 1, and divided by sqrt(K). */
async function normed(gates: readonly Tensor[], K: number, eps: number): Promise<Tensor> {
  const shape = [gates.length, K]
  const x = native().tensor(shape, 'f32')
  const all = gates.map((gate) => [gate, 0, 1] as [Tensor, number, number])
  await native().copyToF32(x, all, 1)
  const weight = native().tensorFrom(new Float32Array(K).fill(1 / Math.sqrt(K)), [K], 'f32')
  const plan = new (native().Plan)(new (native().Arena)())
  plan.output('out', ops.layerNorm(plan, { x, weight, eps }).out)
  const { out } = await plan.run({}, 1)
  return native().tensorFrom(out!, shape, 'f32')
}
