import { convertCheckpoint } from '../convert/convert.ts'
import { parse, printJson, UsageError } from './options.ts'
import { progressBar } from './progress.ts'

export const help = `moe-native convert: PyTorch checkpoints (pytorch_model*.bin), and those of
google-research/vmoe, to safetensors

  moe-native convert DIR OUT

Reads the pickles with a restricted reader that executes nothing, copies tensor
by tensor, and copies configuration and tokenizer files. Of V-MoE, DIR holds
NAME.index and its NAME.data-iiiii-of-nnnnn; the docs page on the survey's
systems has their config.json. OUT must not exist or be empty.

      --json           print { out } at the end`

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(
    args,
    { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    true,
  )
  if (values.help) return void process.stdout.write(`${help}\n`)
  const [dir, out] = rest
  if (!dir || !out || rest.length > 2) throw new UsageError('convert needs DIR and OUT')
  {
    using bar = progressBar('converting', values.json === true)
    await convertCheckpoint(dir, out, {
      signal,
      onProgress: ({ convertedBytes, totalBytes }) => bar.update(convertedBytes, totalBytes),
    })
  }
  if (values.json) printJson({ out })
  else process.stderr.write(`converted ${dir} to ${out}\n`)
}
