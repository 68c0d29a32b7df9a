import path from 'node:path'
import { readServeOptions, type ServeOptions, serve } from '../server/serve.ts'
import { deviceText } from './device.ts'
import { loadWithBar } from './load.ts'
import {
  adapterDirs,
  adapterOption,
  loadOptions,
  modelDir,
  modelHelp,
  modelOptions,
  number,
  type Options,
  parse,
  printJson,
} from './options.ts'

export const help = `moe-native serve: answer over HTTP, by OpenAI's protocol

  moe-native serve --model DIR
  moe-native serve --model DIR --host 0.0.0.0 --api-key KEY
  curl localhost:8000/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "Hello!"}]}'

Server
      --host NAME          address to listen at (default: 127.0.0.1)
      --port N             default: 8000; 0 takes any free one
      --name NAME          what requests call the model (default: its folder)
      --adapter [NAME=]DIR a LoRA adapter that requests name as their model
                           (default: its folder); may be repeated
      --api-key KEY        clients must send it (default: MOE_API_KEY, if set)
      --insecure           listen beyond this machine without a key
      --max-waiting N      requests that may wait; more get 429 (default: 256)
      --drain-seconds N    for answers after SIGTERM or Ctrl-C (default: 30)
      --vllm-metrics       metrics also under vLLM's names
      --log                one JSON line a request on standard error
${modelHelp}`

const options: Options = {
  ...modelOptions,
  ...adapterOption,
  host: { type: 'string' },
  port: { type: 'string' },
  name: { type: 'string' },
  'api-key': { type: 'string' },
  insecure: { type: 'boolean' },
  'max-waiting': { type: 'string' },
  'drain-seconds': { type: 'string' },
  'vllm-metrics': { type: 'boolean' },
  log: { type: 'boolean' },
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, options)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const json = values.json === true
  const dir = modelDir(values)
  const maxWaiting = number(values, 'max-waiting', 0) ?? 256
  const log = (line: object) => void process.stderr.write(`${JSON.stringify(line)}\n`)
  const asked: ServeOptions = {
    host: values.host as string | undefined,
    port: number(values, 'port', 0),
    name: (values.name as string | undefined) ?? path.basename(path.resolve(dir)),
    apiKey: (values['api-key'] as string | undefined) ?? (process.env.MOE_API_KEY || undefined),
    insecure: values.insecure === true,
    drainSeconds: number(values, 'drain-seconds', 0),
    vllmMetrics: values['vllm-metrics'] === true,
    onRequest: ({ error, ...request }) => {
      if (values.log) log({ time: new Date().toISOString(), ...request })
      if (error !== undefined) log({ level: 'error', path: request.path, message: String(error) })
    },
  }
  readServeOptions(asked) // what is wrong is wrong before minutes of loading
  await using model = await loadWithBar(dir, { ...loadOptions(values), maxWaiting, signal }, json)
  for (const { name, dir } of adapterDirs(values)) await model.loadAdapter(dir, { name, signal })
  await using server = await serve(model, asked)
  const { url } = server
  if (json) printJson({ url, device: model.device })
  else process.stdout.write(`${url} on ${deviceText(model.device, model.dtype)}\n`)
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', () => {
      process.exitCode = 0 // as servers are asked to end
    })
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
  // A second signal does not wait for answers.
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => process.exit(1))
}
