import { existsSync } from 'node:fs'
import path from 'node:path'
import { pullModel } from '../hub/pull.ts'
import { readHubId } from '../hub_id.ts'
import { parse, printJson, UsageError } from './options.ts'
import { progressBar } from './progress.ts'

export const help = `moe-native pull: a model of the Hugging Face hub into its cache

  moe-native pull ORG/NAME
  moe-native pull ORG/NAME@REVISION
  moe-native chat --model ORG/NAME     runs what is in the cache, or pulls it

Prints the folder. Takes configuration, tokenizer and safetensors files, or
PyTorch's where there are no others, and goes on where it was interrupted.
Needs a package of its own: npm install @huggingface/hub

      --json           print { folder } at the end

  HF_TOKEN             token for private and gated models
  HF_HOME              its hub is the cache (default: ~/.cache/huggingface)
  HF_HUB_CACHE         the cache itself
  HF_ENDPOINT          another hub (default: https://huggingface.co)
  HF_HUB_OFFLINE=1     take what is in the cache, and ask nobody`

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(
    args,
    { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    true,
  )
  if (values.help) return void process.stdout.write(`${help}\n`)
  const [text, ...others] = rest
  if (text === undefined || others.length > 0) throw new UsageError('pull takes one ORG/NAME')
  const id = readHubId(text)
  if (!id) throw new UsageError(`pull takes ORG/NAME or ORG/NAME@REVISION, got '${text}'`)
  const json = values.json === true
  let folder: string
  {
    using bar = progressBar('pulling', json)
    folder = await pullModel(id, {
      signal,
      onProgress: ({ downloadedBytes, totalBytes }) => bar.update(downloadedBytes, totalBytes),
    })
  }
  if (json) return printJson({ folder })
  process.stdout.write(`${folder}\n`)
  const converted = ['model.safetensors', 'model.safetensors.index.json'].some((name) =>
    existsSync(path.join(folder, name)),
  )
  if (!converted)
    process.stderr.write(
      `PyTorch files; to load them: npx moe-native convert ${folder} ${id.name.split('/').at(-1)}\n`,
    )
}
