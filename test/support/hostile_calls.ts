// Calls every exported function and method with hostile arguments. It runs in a process of its own, as a user of the
// package; test/boundary/hostile.test.ts starts it and reads its lines of JSON.
//   node hostile_calls.mjs SETTING list | run NAME...
import { readFileSync, writeSync } from 'node:fs'
import v8 from 'node:v8'
import fc from 'fast-check'
import * as moe from 'moe-native'
import { change, copy, otherTypes, places } from './hostile_changes.ts'
import { Hostile, hostile } from './hostile_values.ts'

interface Setting {
  checkpoint: string
  torch: string
  folder: string
  adapter: string
  seed: number
  runs: number
  /** Arguments of each op that are right. */
  ops: Record<string, object>
}
interface Target {
  /** Arguments that are right; none for a function that nothing is known of. */
  valid: () => unknown[]
  call: (args: unknown[]) => unknown
}

const [file, mode, ...names] = process.argv.slice(2)
const setting = v8.deserialize(readFileSync(file!)) as Setting
const say = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`)

const mutations = fc.array(
  fc.record({ place: fc.nat(), value: hostile, later: fc.integer({ min: 0, max: 4 }) }),
  { minLength: 1, maxLength: 2 },
)

const sampling = { temperature: 0.5, topK: 5, topP: 0.9, minP: 0.1, repetitionPenalty: 1.1 }
const penalties = { presencePenalty: 0.1, frequencyPenalty: 0.1, seed: 3, logprobs: 2 }
const load = {
  device: 'cpu',
  dtype: 'f32',
  threads: 1,
  maxTokens: 64,
  gpuMemory: 2 ** 30,
  ropeTheta: 1e4,
}
const { signal } = new AbortController()
const forward = { logits: 'last', hiddenStates: true, routing: true, signal }
const config = {
  ...{ model_type: 'mixtral', vocab_size: 40, hidden_size: 32, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, num_key_value_heads: 1, intermediate_size: 16, rope_theta: 1e4 },
  ...{ num_local_experts: 4, num_experts_per_tok: 2, sliding_window: 8, rms_norm_eps: 1e-5 },
}
let folders = 0
const model = await moe.loadModel(setting.checkpoint, { device: 'cpu', maxTokens: 512 })

await model.loadAdapter(setting.adapter, { name: 'known' })

const experts = () => {
  const { experts: kinds } = model.config
  return { mask: kinds.map(() => true), bias: kinds.map(() => 0), force: [0] }
}
const generateOptions = () => ({
  ...{ maxNewTokens: 2, minNewTokens: 1, promptLogprobs: 1 },
  stop: ['x'],
  stopIds: [1],
  routing: true,
  experts: experts(),
  ...sampling,
  ...penalties,
  signal,
})
const generation = () => ['ab', generateOptions()]

const conversation = () => [{ role: 'user', content: 'Hello!', name: 'x' }]
const template = () => ({ chatTemplate: '{{ messages[0].content }}', templateVariables: {} })

/** Arguments that are right, by the names of the parameters that a function has. */
const valid: Record<string, () => unknown[]> = {
  loadModel: () => [
    setting.checkpoint,
    { ...load, ropeTable: 'exact', onProgress() {}, onDownload() {}, signal },
  ],
  randomModel: () => [{ ...config }, { ...load, weights: 'bf16', seed: 1, signal }],
  convertCheckpoint: () => [
    setting.torch,
    `${setting.folder}/${process.pid}-${folders++}`,
    { onProgress() {}, signal },
  ],
  placeExperts: () => [[3, 2, 1], 2, 1],
  quantizeCheckpoint: () => [
    setting.checkpoint,
    `${setting.folder}/${process.pid}-${folders++}`,
    { format: 'int4', group: 32, attention: 'int8', head: 'int8', onProgress() {}, signal },
  ],
  evaluate: () => [model, [1, 2, 3], { window: 4, onProgress() {}, signal }],
  'model.forward': () => [[1, 2, 3], { ...forward, experts: experts(), adapter: 'known' }],
  'model.generate': () => ['ab', { ...generateOptions(), adapter: 'known' }],
  'model.sequence': () => [{ adapter: 'known' }],
  'model.loadAdapter': () => [setting.adapter, { name: `adapter ${folders++}`, signal }],
  'sequence.generate': generation,
  'model.chat': () => [
    conversation(),
    { ...generateOptions(), ...template(), continueFinalMessage: false },
  ],
  'model.applyChatTemplate': () => [conversation(), { ...template(), addGenerationPrompt: true }],
  'sequence.forward': () => [[1, 2, 3], { ...forward }],
  'model.routingStats': () => [{ reset: true }],
  'sequence.truncate': () => [1],
  'tokenizer.encode': () => ['a b', { addSpecialTokens: true }],
  'tokenizer.encodeAsync': () => ['a b', { addSpecialTokens: true, signal }],
  'tokenizer.decode': () => [[5, 6], { special: true }],
  'tokenizer.stream': () => [5, { special: true }],
  'stream.push': () => [5],
  'generation.then': () => [() => 1, () => 2],
  'generation.catch': () => [() => 2],
  'generation.finally': () => [() => 3],
}

const targets = new Map<string, Target>()
const add = (name: string, call: Target['call'], args = valid[name] ?? (() => [])) =>
  targets.set(name, { valid: args, call })

/** Every method of a class, called on an object of its own each time. Boxed, since a generation is awaitable. */
function addMethods(prefix: string, one: object, make: () => Promise<[self: any]>): void {
  for (let type = one; type && type !== Object.prototype; type = Object.getPrototypeOf(type))
    for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(type)))
      if (typeof value === 'function' && key !== 'constructor' && key !== 'profile')
        add(`${prefix}.${key}`, async (args) => {
          const [self] = await make()
          try {
            return await self[key](...args)
          } finally {
            if (prefix === 'sequence') self.dispose()
          }
        })
}

for (const [name, value] of Object.entries(moe) as [string, any][])
  if (typeof value === 'function' && !(value.prototype instanceof Error))
    add(name, (args) => value(...args))
for (const [name, op] of Object.entries(moe.ops) as [string, any][])
  add(
    `ops.${name}`,
    (args) => op(...args),
    () => [copy(setting.ops[name] ?? {}), { device: 'cpu', threads: 1 }],
  )
addMethods('model', model, async () => [model])
add(
  'model.forward of a batch',
  (args) => (model.forward as (...args: unknown[]) => unknown)(...args),
  () => [[[1, 2], Int32Array.of(3)], { ...forward }],
)
add(
  'model.generate from ids',
  (args) => (model.generate as (...args: unknown[]) => unknown)(...args),
  () => [[1, 2], { maxNewTokens: 2, stopIds: [] }],
)
add('model.dispose', async (args) => {
  const other = await moe.loadModel(setting.checkpoint, { device: 'cpu', maxTokens: 32 })
  return (other.dispose as (...args: unknown[]) => unknown)(...args)
})
add('model.loadAdapter', async (args) => {
  const load = model.loadAdapter as (...args: unknown[]) => ReturnType<typeof model.loadAdapter>
  const adapter = await load.apply(model, args)
  await model.unloadAdapter(adapter.name)
  return adapter
})
add(
  'model.unloadAdapter',
  async (args) => {
    const { name } = await model.loadAdapter(setting.adapter, { name: 'going' })
    try {
      const unload = model.unloadAdapter as (...args: unknown[]) => unknown
      return await unload.apply(model, args)
    } finally {
      await model.unloadAdapter(name).catch(() => {})
    }
  },
  () => ['going'],
)
addMethods('sequence', model.sequence(), async () => {
  const sequence = model.sequence()
  await sequence.forward([1, 2, 3])
  return [sequence]
})
const generate = () => model.generate([1], { maxNewTokens: 2, stopIds: [] })
addMethods('generation', generate(), async () => [generate()])
addMethods('tokenizer', model.tokenizer!, async () => [model.tokenizer])
addMethods('stream', model.tokenizer!.stream(), async () => [model.tokenizer!.stream()])

/** What a call ends with: a value, a refusal (a MoeError, or what an argument threw), or something wrong. */
async function outcome(run: () => unknown): Promise<'value' | 'refused' | { wrong: string }> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('did not settle')), 5000)
  })
  try {
    const value = (await Promise.race([run(), late])) as { dispose?(): unknown } | undefined
    if (value instanceof Object && typeof value.dispose === 'function') await value.dispose()
    return 'value'
  } catch (error) {
    if (error instanceof Hostile) return 'refused'
    if (error instanceof moe.MoeError && /^ERR_MOE_[A-Z_]+$/.test(error.code)) return 'refused'
    const place = error instanceof Error && /dist\/(\S+:\d+):\d+/.exec(error.stack ?? '')?.[1]
    return { wrong: `${error} at ${place}` }
  } finally {
    clearTimeout(timer)
  }
}

async function attack(name: string, { valid, call }: Target): Promise<void> {
  const report = (what: string, error: string) => say({ name, what, error })
  const attempt = async (what: string, args: unknown[]) => {
    say({ name, what })
    const end = await outcome(() => call(args))
    if (typeof end === 'object') report(what, end.wrong)
    return end
  }
  say({ name })
  if ((await attempt('right arguments', valid())) !== 'value') report('right arguments', 'refused')

  for (const [n, { path, holder, key }] of places(valid(), '').entries()) {
    if (ArrayBuffer.isView(holder)) continue
    const changed = (value: unknown, later: boolean) => {
      const args = valid()
      change(places(args, '')[n]!, value, later)
      return args
    }
    // A value of another type is refused, never read as something else.
    for (const value of otherTypes(holder[key], `${name}${path}`)) {
      const what = `${path} = ${JSON.stringify(value)}`
      if ((await attempt(what, changed(value, false))) === 'value') report(what, 'is taken')
    }
    // What is checked is what is used: an array may give another number when it is read again.
    if (typeof holder[key] === 'number')
      for (const value of [-1, 2 ** 30])
        await attempt(`${path} later = ${value}`, changed(value, true))
  }

  for (const changes of fc.sample(mutations, { seed: setting.seed, numRuns: setting.runs })) {
    const args = valid()
    const all = [...places(args, ''), { path: `[${args.length}]`, holder: args, key: args.length }]
    const done = changes.map(({ place, value: [shown, value], later }) => {
      const at = all[place % all.length]!
      change(at, value, later === 0)
      return `${at.path}${later === 0 ? ' later' : ''} = ${shown}`
    })
    await attempt(done.join(', '), args)
  }
}

if (mode === 'list') say([...targets.keys()])
else {
  let current = ''
  process.on('unhandledRejection', (error) =>
    say({ name: current, what: 'in the background', error: String(error) }),
  )
  const before = (await model.forward([1, 2, 3])).logits
  for (const name of names) {
    current = name
    await attack(name, targets.get(name)!)
  }
  const same = (await model.forward([1, 2, 3])).logits.every((logit, i) => logit === before[i])
  if (!same) say({ name: current, what: 'all calls', error: 'the model computes other numbers' })
  say({ done: true })
}
process.exit(0)
