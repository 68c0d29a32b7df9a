import type { LayerRouting } from '../engine/trace.ts'
import type { Trace } from '../layers/step.ts'
import type { NumberArray, Plan } from '../native.ts'

/** What the router of a layer decided, of T tokens. */
export interface CappedRouting extends LayerRouting {
  /** [T, 1], 1 where the expert had no place left, so that the token passed the layer unchanged. */
  dropped: Uint8Array
}

/** What happened in the layers of an encoder or a decoder. T tokens, H hidden. */
export interface StackTrace {
  /** One a layer; undefined for a layer without experts. With `routing`. */
  routing?: (CappedRouting | undefined)[]
  /** One a layer: [T, H]. With `hiddenStates`. */
  hiddenStates?: Float32Array[]
}

/** What is wanted of it. */
export interface TraceWish {
  routing: boolean
  hiddenStates: boolean
}

/** Makes outputs of what was recorded. */
export function outputTrace(plan: Plan, trace: Trace, wish: TraceWish): void {
  for (const [l, hidden] of trace.hiddenStates.entries())
    if (wish.hiddenStates) plan.output(`hidden.${l}`, hidden)
  for (const [l, routing] of trace.routing.entries()) {
    if (!routing || !wish.routing) continue
    for (const name of ['ids', 'weights', 'logits', 'rows'] as const)
      plan.output(`${name}.${l}`, routing[name])
  }
}

type Outputs = { readonly [name: string]: NumberArray }

/** The rows of a text's tokens, apart from the memory of its step. */
export function textRows<T extends NumberArray>(
  all: NumberArray,
  [first, end]: readonly [first: number, end: number],
  tokens: number,
): T {
  const width = all.length / tokens
  return all.slice(first * width, end * width) as T
}

/** What the outputs say of the tokens from `first` to `end`. */
export function readTrace(
  outputs: Outputs,
  numLayers: number,
  range: readonly [first: number, end: number],
  tokens: number,
  wish: TraceWish,
): StackTrace {
  const layers = Array.from({ length: numLayers }, (_, l) => l)
  const part = <T extends NumberArray>(name: string) => textRows<T>(outputs[name]!, range, tokens)
  const routingOf = (l: number): CappedRouting | undefined => {
    if (!outputs[`ids.${l}`]) return undefined
    return {
      expertIds: part<Int32Array>(`ids.${l}`),
      weights: part<Float32Array>(`weights.${l}`),
      logits: part<Float32Array>(`logits.${l}`),
      dropped: Uint8Array.from(part<Int32Array>(`rows.${l}`), (row) => (row < 0 ? 1 : 0)),
    }
  }
  return {
    ...(wish.routing && { routing: layers.map(routingOf) }),
    ...(wish.hiddenStates && {
      hiddenStates: layers.map((l) => part<Float32Array>(`hidden.${l}`)),
    }),
  }
}
