import { existsSync } from 'node:fs'
import path from 'node:path'
import { MoeError } from '../errors.ts'
import type { Module } from '../layers/projection.ts'
import { type Entry, openSafetensors, short } from '../weights/safetensors.ts'
import type { Stored } from './pairs.ts'
import { readPeftConfig } from './peft_config.ts'

/** One module of an adapter, checked and not read. */
export interface PeftModule {
  name: string
  /** [r, inputs] */
  a: Stored
  /** [r, outputs] */
  b: Stored
  scaling: number
}

const lastName = (name: string): string => name.slice(name.lastIndexOf('.') + 1)

function fail(
  code: 'ERR_MOE_CHECKPOINT' | 'ERR_MOE_UNSUPPORTED',
  entry: Entry,
  rest: string,
): never {
  throw new MoeError(code, `${entry.label}: tensor ${short(entry.name)} must be ${rest}`)
}

function checkShape(entry: Entry, expected: readonly number[]): void {
  const { shape } = entry
  if (shape.length !== expected.length || shape.some((dim, i) => dim !== expected[i]))
    fail('ERR_MOE_CHECKPOINT', entry, `[${expected.join(', ')}], got [${shape.join(', ')}]`)
}

/** What the file of an adapter's folder has. */
export function peftEntries(dir: string): Map<string, Entry> {
  const file = path.join(dir, 'adapter_model.safetensors')
  if (!existsSync(file)) {
    const torch = existsSync(path.join(dir, 'adapter_model.bin'))
    const got = torch ? 'adapter_model.bin; save it with safe_serialization' : 'nothing there'
    throw new MoeError('ERR_MOE_CHECKPOINT', `${file}: file must exist, got ${got}`)
  }
  const entries = openSafetensors([file])
  if (entries.size === 0)
    throw new MoeError('ERR_MOE_CHECKPOINT', `${file}: tensors must be there, got none`)
  return entries
}

/**
 * Opens a LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors.
 *
 * @param modules of the base
 * @throws {MoeError} ERR_MOE_CHECKPOINT for another base, rank or shape, naming the tensor; ERR_MOE_UNSUPPORTED for
 *   what is not run, by name
 */
export function openPeft(dir: string, modules: readonly Module[]): PeftModule[] {
  const config = readPeftConfig(dir)
  const known = new Map(modules.map((module) => [module.name, module]))
  const kinds = [...new Set(modules.map(({ name }) => lastName(name)))]
  const entries = peftEntries(dir)
  const found = new Map<string, Partial<Record<'A' | 'B', Entry>>>()
  for (const entry of entries.values()) {
    const [, name, half] =
      /^(?:base_model\.model\.)?(.+)\.lora_([AB])\.weight$/.exec(entry.name) ?? []
    if (name === undefined || !known.has(name))
      fail(
        'ERR_MOE_UNSUPPORTED',
        entry,
        kinds.length === 0
          ? 'of a model whose modules take adapters, got one of which none does'
          : `lora_A or lora_B of a module of this model that takes adapters (${kinds.join(', ')}), got another; PEFT's merge_and_unload puts it into the base`,
      )
    const halves = found.get(name) ?? {}
    halves[half as 'A' | 'B'] = entry
    found.set(name, halves)
  }
  return [...found].map(([name, halves]) => {
    const { inputs, outputs } = known.get(name)!
    for (const [half, other] of [
      ['A', 'B'],
      ['B', 'A'],
    ] as const)
      if (!halves[half])
        fail(
          'ERR_MOE_CHECKPOINT',
          halves[other]!,
          `beside lora_${half} of its module, got it alone`,
        )
    const rank = config.rankOf(name)
    checkShape(halves.A!, [rank, inputs])
    checkShape(halves.B!, [outputs, rank])
    return {
      name,
      a: { entry: halves.A!, turned: false },
      b: { entry: halves.B!, turned: true },
      scaling: config.scalingOf(name),
    }
  })
}
