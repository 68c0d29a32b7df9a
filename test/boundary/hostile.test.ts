import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import v8 from 'node:v8'
import { beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../cases/case.ts'
import { cases } from '../cases/index.ts'
import { copyCheckpoint, readStored, temporaryFolder, writeStored } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { torchFile } from '../support/pytorch.ts'
import { writeModule } from '../support/write_module.ts'

// Whatever is passed, a call ends with a value or a MoeError, or with what the caller's own object threw.

interface Line {
  name: string
  what?: string
  error?: string
}

const folder = temporaryFolder()
const torch = copyCheckpoint(fixture('golden/moepp/base-bf16'))
writeFileSync(
  path.join(torch, 'pytorch_model.bin'),
  torchFile(readStored(path.join(torch, 'model.safetensors'))),
)
rmSync(path.join(torch, 'model.safetensors'))
const adapter = path.join(folder, 'adapter')
mkdirSync(adapter)
writeFileSync(`${adapter}/adapter_config.json`, '{"peft_type": "LORA", "r": 1}')
const half = (half: string, shape: number[]) =>
  [
    `base_model.model.model.layers.0.self_attn.q_proj.lora_${half}.weight`,
    { dtype: 'F32', shape, data: new Uint8Array(4 * 128) },
  ] as const
writeStored(
  `${adapter}/adapter_model.safetensors`,
  new Map([half('A', [1, 128]), half('B', [128, 1])]),
)
const camel = (op: string) => op.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
const given = (inputs: object) =>
  Object.fromEntries(Object.entries(inputs).filter(([, value]) => value !== undefined))
const settingFile = path.join(folder, 'setting')
writeFileSync(
  settingFile,
  v8.serialize({
    ...{ torch, folder, adapter, checkpoint: `${root}/demo/moepp-tiny`, seed: 1 },
    runs: Number(process.env.MOE_HOSTILE_RUNS ?? 150),
    ops: Object.fromEntries(
      cases.map((c) => [
        camel(c.op),
        // Some cases carry what only they know.
        given(c.inputs(c.shapes[0], new Random(1), c.dtypes[0]!)),
      ]),
    ),
  }),
)
const [program] = ['hostile_calls', 'hostile_changes', 'hostile_values'].map((name) =>
  writeModule(
    name,
    readFileSync(`${root}/test/support/${name}.ts`, 'utf8').replaceAll(
      /'\.\/(\w+)\.ts'/g,
      "'./$1.mjs'",
    ),
  ),
)

/** Runs the program in a folder of its own. */
function run(...args: string[]): { lines: Line[]; ended: string } {
  const { stdout, stderr, signal, status, error } = spawnSync(
    process.execPath,
    [program!, settingFile, ...args],
    { cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 28, timeout: 150_000 },
  )
  const lines = stdout.split('\n').filter((line) => line !== '')
  return {
    lines: lines.flatMap((line) => JSON.parse(line) as Line),
    ended: `${signal ?? `status ${status}`} ${error?.message ?? ''} ${stderr.slice(-500)}`,
  }
}

const names = run('list').lines as unknown as string[]

describe('hostile arguments', () => {
  const failures = new Map<string, string[]>()
  beforeAll(() => {
    // What takes the process down is that call's failure; the rest goes on without that function.
    for (let left = names; left.length > 0; ) {
      const { lines, ended } = run('run', ...left)
      for (const { name, what, error } of lines) {
        if (!name) continue
        const all = failures.get(name) ?? []
        failures.set(name, all)
        // One example of each error.
        const known = (text: string) => error !== 'is taken' && text.endsWith(error!)
        if (error && !all.some(known)) all.push(`${what}: ${error}`)
      }
      if ('done' in lines.at(-1)!) break
      const last = lines.at(-1)!
      failures.get(last.name)!.push(`${last.what}: the process ended: ${ended}`)
      left = left.slice(left.indexOf(last.name) + 1)
    }
  })

  it('reach every function', () => {
    expect(names.length).toBeGreaterThan(25)
    expect([...failures.keys()]).toEqual(names)
  })

  it.each(names)('%s', (name) => {
    expect(failures.get(name)).toEqual([])
  })
})
