// Where hostile values are put into arguments that are right.

export type Place = { path: string; holder: any; key: PropertyKey }
const isPlain = (value: unknown): value is object =>
  Array.isArray(value) ||
  (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)

/** Every place of some arguments: each of them, one more, and what is inside. */
export function places(holder: any, path: string): Place[] {
  const keys = Array.isArray(holder)
    ? [...new Set([0, holder.length - 1])].filter((key) => key >= 0)
    : Object.keys(holder)
  return keys.flatMap((key) => {
    const here = { path: `${path}[${JSON.stringify(key)}]`, holder, key }
    const value = holder[key]
    if (isPlain(value)) return [here, ...places(value, here.path)]
    if (!ArrayBuffer.isView(value) || value.byteLength === 0) return [here]
    return [here, { path: `${here.path}[0]`, holder: value, key: 0 }]
  })
}

export const copy = (value: any): any =>
  Array.isArray(value)
    ? value.map(copy)
    : isPlain(value)
      ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copy(inner)]))
      : ArrayBuffer.isView(value)
        ? (value as Float32Array).slice()
        : value

/** Puts a value where a right one was: at once, or only when it is read a second time. */
export function change({ holder, key }: Place, value: unknown, later: boolean): void {
  if (ArrayBuffer.isView(holder)) {
    if (typeof value === 'number') (holder as Float32Array)[key as number] = value
    return
  }
  const before = holder[key]
  let reads = 0
  const get = () => (reads++ === 0 ? before : value)
  Object.defineProperty(holder, key, {
    ...(later ? { get } : { value, writable: true }),
    enumerable: true,
    configurable: true,
  })
}

/** Any string is right here; and a promise takes anything that is no function. */
const free =
  /^(loadModel\[0\]|convertCheckpoint|quantizeCheckpoint\[[01]\]|(model|sequence)\.generate\[(0|1\]\["stop)|tokenizer\.encode(Async)?\[0\]|model\.loadAdapter\[1\]\["name|model\.unloadAdapter|model\.(chat|applyChatTemplate)\[(0|1\]\["(chatT|stop)))/
const anything = /^generation\./

/** Values of other types than one that is right, which nobody means. */
export function otherTypes(value: unknown, place: string): unknown[] {
  if (anything.test(place) || value === undefined) return []
  if (typeof value === 'number') return ['x', true, {}]
  if (typeof value === 'boolean') return ['yes', 1]
  if (typeof value === 'string') return free.test(place) ? [5, true] : [5, 'bogus']
  if (typeof value === 'function') return [5, 'x']
  return Array.isArray(value) ? [5, true] : [5, 'x']
}
