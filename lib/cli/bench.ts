import type { BenchResult } from '../bench/run.ts'
import { benches, runBenches } from '../bench/run.ts'
import { modelShapes, type RoutingName, routings } from '../bench/shapes.ts'
import type { DeviceName } from '../device.ts'
import { choice, counts, number, parse, printJson } from './options.ts'

/** Names for the help, cut into lines of its width. */
function inLines(names: string[], separator: string): string {
  const lines: string[] = []
  for (const name of names) {
    const longer = lines.length > 0 ? lines.at(-1) + separator + name : name
    if (lines.length > 0 && longer.length <= 54) lines[lines.length - 1] = longer
    else lines.push(name)
  }
  return lines.join(`${separator.trimEnd()}\n${' '.repeat(23)}`)
}

const help = `moe-native bench [op…]: kernels at the sizes of real models

  op                   ${inLines(
    benches.map(({ op }) => op),
    ' | ',
  )}
                       (default: all)
  -d, --device NAME    auto | cpu | cuda | cuda:N | cuda-sim (default: auto)
      --dtype TYPE     weights and activations: bf16 | f32 (default: bf16)
      --models LIST    ${inLines(Object.keys(modelShapes), ',')}
                       (default: yuan,moepp,mixtral)
      --tokens LIST    such as 1,8,512 (default: by device)
      --routings LIST  ${routings.join(',')} (default: uniform)
      --seconds X      for each measurement (default: 0.3)
      --json           one JSON object a line: device and ceilings, then each
                       result as it comes

Every kernel is checked before it is timed, and compared with what the device
can do in the same run. Only useful bytes and operations count, and inputs
rotate past the caches.`

const list = (text: unknown): string[] | undefined =>
  text === undefined ? undefined : String(text).split(',')

const cells = (result: BenchResult): string => {
  const { op, model, shape, tokens, routing = '', seconds, min, max, share, bound } = result
  const us = (s: number): string => (1e6 * s).toFixed(s < 1e-4 ? 1 : 0)
  return [
    ...[op.padEnd(12), model.padEnd(10), String(tokens).padStart(6), routing.padEnd(8)],
    ...[`${us(seconds)} µs`.padStart(12), `[${us(min)}..${us(max)}]`.padStart(18)],
    `${(result.bytesPerSecond / 1e9).toFixed(1)} GB/s`.padStart(12),
    `${(result.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s`.padStart(15),
    `${(100 * share).toFixed(0)} % of ${bound}`.padStart(15),
    ` ${shape}`,
  ].join(' ')
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(
    args,
    {
      device: { type: 'string', short: 'd' },
      dtype: { type: 'string' },
      models: { type: 'string' },
      tokens: { type: 'string' },
      routings: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    true,
  )
  if (values.help) return void process.stdout.write(`${help}\n`)
  const json = values.json === true
  const say = (line: string) => process.stdout.write(`${line}\n`)
  const { device, ceilings } = await runBenches({
    ...{ ops: rest, device: (values.device ?? 'auto') as DeviceName },
    ...(values.dtype !== undefined && { dtype: choice(values, 'dtype', ['bf16', 'f32'])! }),
    ...(values.models !== undefined && { models: list(values.models)! }),
    ...(values.tokens !== undefined && { tokens: counts('tokens', String(values.tokens)) }),
    ...(values.routings !== undefined && { routings: list(values.routings) as RoutingName[] }),
    ...(values.seconds !== undefined && { seconds: number(values, 'seconds', 0)! }),
    signal,
    onStart: (head) => json && printJson(head),
    onResult: (result) => (json ? printJson(result) : say(cells(result))),
  })
  if (json) return
  say(
    `${device.name}: read ${(ceilings.read / 1e9).toFixed(1)} GB/s, copy ${(ceilings.copy / 1e9).toFixed(1)} GB/s, ` +
      `matrix ${(ceilings.matrix / 1e9).toFixed(0)} GFLOP/s, an op alone ${(1e6 * ceilings.empty).toFixed(2)} µs`,
  )
}
