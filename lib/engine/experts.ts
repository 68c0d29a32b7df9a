import { badOption } from '../errors.ts'
import type { ExpertInfo, LayerInfo } from '../layers/step.ts'
import { checkNames, type OptionNames } from '../option_names.ts'
import { numberOption, readList } from '../options.ts'

/** What a call changes of a layer's routing. */
export interface ExpertOptions {
  /** One flag an expert; one with `false` is not chosen, and has no share in the softmax. */
  mask?: readonly boolean[] | undefined
  /** One number an expert, added to its router logit, so that it is chosen more or less often and weighs so. */
  bias?: readonly number[] | undefined
  /** Ids of experts that every token chooses, before all others; they keep their logits. */
  force?: readonly number[] | undefined
}

/** One for all layers that have a router, or a list with one a layer, undefined where nothing is changed. */
export type LayerExpertOptions = ExpertOptions | readonly (ExpertOptions | undefined)[]

const optionNames: OptionNames<ExpertOptions> = { mask: true, bias: true, force: true }

/** Largest bias: beyond it nothing changes any more, and sums stay finite. */
const maxBias = 1e6

/**
 * What `topK` adds to the logits, for the experts of all layers in order: 0, a bias, minus infinity for an expert that
 * is out, plus infinity for one that is forced. Undefined: nothing is changed.
 */
export type ExpertAdjust = Float32Array | undefined

/** The columns of an `ExpertAdjust` that are a layer's; undefined for a layer without a router. */
export function expertColumns(layers: readonly LayerInfo[]): {
  all: number
  of: ({ start: number; count: number } | undefined)[]
} {
  let all = 0
  const of = layers.map(({ experts }) => {
    if (!experts) return undefined
    const columns = { start: all, count: experts.kinds.length }
    all += columns.count
    return columns
  })
  return { all, of }
}

/** Reads the option `experts` of a call, once, and checks it against each layer. */
export function resolveExperts(
  where: string,
  given: unknown,
  layers: readonly LayerInfo[],
): ExpertAdjust {
  if (given === undefined) return undefined
  const bad = () => badOption(where, 'experts', 'an object, or a list of one a layer', given)
  if (typeof given !== 'object' || given === null) bad()
  const list = Array.isArray(given)
  const copy: unknown[] = list ? readList(given, (one) => one, bad) : layers.map(() => given)
  if (copy.length !== layers.length)
    badOption(where, 'experts', `one a layer, ${layers.length}`, copy.length)
  const { all, of } = expertColumns(layers)
  const adjust = new Float32Array(all)
  for (const [l, one] of copy.entries()) {
    if (one === undefined) continue
    const name = list ? `experts[${l}]` : 'experts'
    const columns = of[l]
    if (columns) {
      const { start, count } = columns
      readLayer(where, name, one, layers[l]!.experts!, adjust.subarray(start, start + count))
    } else if (list) badOption(where, name, 'undefined, since this layer has no router', one)
  }
  return adjust.every((value) => value === 0) ? undefined : adjust
}

function readLayer(
  where: string,
  name: string,
  given: unknown,
  info: ExpertInfo,
  adjust: Float32Array,
): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    badOption(where, name, 'an object', given)
  checkNames(`${where}: ${name}`, given, optionNames)
  const { mask, bias, force } = given as ExpertOptions
  const E = adjust.length
  /** A list with an entry for each expert. */
  const each = <T>(what: string, value: unknown, item: (one: unknown, e: number) => T): T[] => {
    const bad = () => badOption(where, `${name}.${what}`, `a list of ${E}, one an expert`, value)
    let e = 0
    const read = readList(value, (one) => item(one, e++), bad)
    return read.length === E ? read : bad()
  }
  if (bias !== undefined)
    adjust.set(
      each('bias', bias, (one, e) =>
        numberOption(`${name}.bias[${e}]`, one, { min: -maxBias, max: maxBias, where }),
      ),
    )
  const flag = (one: unknown, e: number): boolean =>
    typeof one === 'boolean' ? one : badOption(where, `${name}.mask[${e}]`, 'true or false', one)
  const open = mask === undefined ? Array<boolean>(E).fill(true) : each('mask', mask, flag)
  for (const [e, is] of open.entries()) if (!is) adjust[e] = Number.NEGATIVE_INFINITY
  readForced(where, `${name}.force`, force, info, adjust)
  const left = fewestLeft(info, adjust)
  const forced = adjust.filter((value) => value === Number.POSITIVE_INFINITY).length
  if (left + forced < info.topK) {
    const groups = info.groups ? ' in the groups that a token may choose from' : ''
    badOption(
      where,
      `${name}.mask`,
      `true for at least ${info.topK} experts${groups}`,
      left + forced,
    )
  }
}

function readForced(
  where: string,
  name: string,
  force: unknown,
  { topK }: ExpertInfo,
  adjust: Float32Array,
): void {
  if (force === undefined) return
  const range = { min: 0, max: adjust.length - 1, whole: true, where }
  const bad = () => badOption(where, name, 'a list of expert ids', force)
  let i = 0
  const ids = new Set(readList(force, (id) => numberOption(`${name}[${i++}]`, id, range), bad))
  if (ids.size > topK) badOption(where, name, `at most ${topK} experts`, ids.size)
  for (const id of ids) {
    const had = adjust[id]!
    if (had !== 0) badOption(where, name, 'of experts with neither a bias nor a mask of false', id)
    adjust[id] = Number.POSITIVE_INFINITY
  }
}

/** Experts, but for forced ones, that a token can choose from at least, whatever its logits. */
function fewestLeft({ groups }: ExpertInfo, adjust: Float32Array): number {
  const { count, kept, score } = groups ?? { count: 1, kept: 1, score: 'max' }
  const size = adjust.length / count
  const sizes: number[] = []
  for (let g = 0; g < count; g++) {
    const group = adjust.subarray(g * size, g * size + size)
    const open = group.filter((value) => value !== Number.NEGATIVE_INFINITY).length
    const free = group.filter((value) => Number.isFinite(value)).length
    // A group that is worth minus infinity is kept only where no other is left.
    sizes.push(open >= (score === 'top2' ? 2 : 1) ? free : Number.POSITIVE_INFINITY)
  }
  const worst = sizes.sort((a, b) => a - b).slice(0, kept)
  return worst.reduce((sum, free) => sum + (Number.isFinite(free) ? free : 0), 0)
}
