import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { answerOffline } from '../server/offline.ts'
import { serving } from '../server/serving.ts'
import {
  type BatchRequest,
  checkRequests,
  openAnswers,
  readRequests,
  readShard,
} from './batch_file.ts'
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
  UsageError,
} from './options.ts'

export const help = `moe-native batch: answer a file of requests, in OpenAI's batch format

  moe-native batch in.jsonl out.jsonl --model DIR
  moe-native batch in.jsonl out-0.jsonl --shard 0/4

in.jsonl has one request a line:
  {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
   "body": {"messages": [...]}}
out.jsonl gets one answer a line, in the order in which they end. A run that was
stopped goes on where it was when the same command is given again; answers that
failed for want of room are tried again.

Batch
      --shard I/N          only every Nth request, from the Ith on (from 0), for
                           N runs with files of their own
      --concurrency N      requests under way at once (default: 128)
      --name NAME          what requests call the model (default: its folder)
      --adapter [NAME=]DIR a LoRA adapter that requests name as their model
                           (default: its folder); may be repeated
${modelHelp}`

const options: Options = {
  ...modelOptions,
  ...adapterOption,
  shard: { type: 'string' },
  concurrency: { type: 'string' },
  name: { type: 'string' },
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, rest } = parse(args, options, true)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const [input, output, ...others] = rest
  if (input === undefined || output === undefined || others.length > 0)
    throw new UsageError('batch takes a file of requests and a file for answers')
  if (path.resolve(input) === path.resolve(output))
    throw new UsageError('the file for answers must be another than that of requests')
  const shard = readShard((values.shard as string | undefined) ?? '0/1')
  const atOnce = number(values, 'concurrency', 1) ?? 128
  const json = values.json === true
  await checkRequests(input)
  const { ids: known, handle } = await openAnswers(output)
  await using _closing = { [Symbol.asyncDispose]: () => handle.close() }
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const dir = modelDir(values)
  await using model = await loadWithBar(dir, { ...loadOptions(values), signal: ended }, json)
  for (const { name, dir } of adapterDirs(values))
    await model.loadAdapter(dir, { name, signal: ended })
  const name = (values.name as string | undefined) ?? path.basename(path.resolve(dir))
  const served = serving(model, name)

  const counts = { answered: 0, failed: 0, known: 0 }
  let written: Promise<unknown> = Promise.resolve()
  const answer = async ({ id, url, body }: BatchRequest) => {
    const { status, body: answered } = await answerOffline(served, url, body, ended)
    counts[status === 200 ? 'answered' : 'failed']++
    const line = {
      id: `batch_req_${randomUUID()}`,
      custom_id: id,
      response: { status_code: status, request_id: randomUUID(), body: answered },
      error: null,
    }
    // Not `write`, which may write a part of it.
    written = written.then(() => handle.appendFile(`${JSON.stringify(line)}\n`))
    await written
  }
  const underWay = new Set<Promise<void>>()
  for await (const request of readRequests(input, shard)) {
    if (known.has(request.id)) {
      counts.known++
      continue
    }
    ended.throwIfAborted()
    const one = answer(request)
      .catch((error: unknown) => stop.abort(error)) // one that cannot be written ends all
      .finally(() => underWay.delete(one))
    underWay.add(one)
    if (underWay.size >= atOnce) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  ended.throwIfAborted()
  if (json) printJson(counts)
  else
    process.stdout.write(
      `${counts.answered} answered, ${counts.failed} failed, ${counts.known} known from before\n`,
    )
}
