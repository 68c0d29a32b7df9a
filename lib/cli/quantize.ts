import { quantizeCheckpoint } from '../convert/quantize.ts'
import { choice, parse, printJson, UsageError } from './options.ts'
import { progressBar } from './progress.ts'

export const help = `moe-native quantize: a checkpoint with its matrices in 8 or 4 bits

  moe-native quantize DIR OUT --format int4

Writes file by file, in the layout of compressed-tensors, and copies
configuration and tokenizer files. OUT must not exist or be empty; the same
command takes up one that was interrupted.

      --format F       int8: all matrices; int4: experts, and the others in int8
      --group N        values that share a scale of int4: 32 | 128 (default: 32)
      --attention F    attention's projections: int8 | int4 | bf16, as they are
                       (default: int8)
      --head F         the matrix that logits come from: int8 | int4 | bf16, as
                       it is (default: int8)
      --packed         matrices as they lie in memory: they load by mapping, by
                       this version and on a CPU only; --format may be bf16 and
                       auto, too: as DIR has them
      --json           print { out } at the end`

const formats = ['int8', 'int4', 'bf16'] as const

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(
    args,
    {
      format: { type: 'string' },
      group: { type: 'string' },
      attention: { type: 'string' },
      head: { type: 'string' },
      packed: { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    true,
  )
  if (values.help) return void process.stdout.write(`${help}\n`)
  const [dir, out] = rest
  if (!dir || !out || rest.length > 2) throw new UsageError('quantize needs DIR and OUT')
  const packed = values.packed === true
  const format = choice(
    values,
    'format',
    packed ? ['int8', 'int4', 'bf16', 'auto'] : ['int8', 'int4'],
  )
  if (!format) throw new UsageError('--format must be given: int8 | int4')
  const group = choice(values, 'group', ['32', '128'])
  {
    using bar = progressBar('quantizing', values.json === true)
    await quantizeCheckpoint(dir, out, {
      format,
      group: group && (Number(group) as 32 | 128),
      attention: choice(values, 'attention', formats),
      head: choice(values, 'head', formats),
      packed,
      signal,
      onProgress: ({ quantizedBytes, totalBytes }) => bar.update(quantizedBytes, totalBytes),
    })
  }
  if (values.json) printJson({ out })
  else process.stderr.write(`quantized ${dir} to ${out}\n`)
}
