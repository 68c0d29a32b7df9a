import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it, vi } from 'vitest'
import { convertCheckpoint, loadModel } from '../../lib/index.ts'
import { copyCheckpoint, failure, temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const checkpoint = fixture('golden/moepp/base-f32')
const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 4548680\n`

/** A folder of these files. */
function folder(files: Record<string, string>, dir = temporaryFolder()): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(dir, name)), { recursive: true })
    writeFileSync(path.join(dir, name), text)
  }
  return dir
}
/** A checkpoint with these files in place of its own. */
const changed = (files: Record<string, string>) => folder(files, copyCheckpoint(checkpoint))

/** A checkpoint without weights beside these files. */
function emptied(files: Record<string, string>): string {
  const dir = changed(files)
  rmSync(path.join(dir, 'model.safetensors'))
  return dir
}

/** A model in the cache of the hub: files are links into `blobs`. */
function hubCache(): string {
  const cache = temporaryFolder()
  const model = path.join(cache, 'hub', 'models--org--name')
  const snapshot = path.join(model, 'snapshots', 'abc')
  for (const dir of [snapshot, path.join(model, 'blobs')]) mkdirSync(dir, { recursive: true })
  for (const [i, file] of ['config.json', 'model.safetensors'].entries()) {
    copyFileSync(path.join(checkpoint, file), path.join(model, 'blobs', `${i}`))
    symlinkSync(`../../blobs/${i}`, path.join(snapshot, file))
  }
  folder({ 'refs/main': 'abc' }, model)
  return cache
}

// As where it is not installed: no test asks the network.
vi.mock('@huggingface/hub', () => {
  throw new Error('Cannot find package')
})

describe('the usual mistakes get the sentence that helps', () => {
  it.each<[string, () => string, RegExp]>([
    [
      'a hub id',
      () => 'mistralai/Mixtral-8x7B-v0.1',
      /got a model of the Hugging Face hub; npm install @huggingface\/hub .*hf download mistralai\/Mixtral-8x7B-v0\.1 --local-dir Mixtral-8x7B-v0\.1/,
    ],
    [
      'an address of the hub',
      () => 'https://huggingface.co/IEITYuan/Yuan2-M32-hf/tree/main',
      /hf download IEITYuan\/Yuan2-M32-hf /,
    ],
    ['another address', () => 'https://example.org/model', /folder of this machine, got a URL/],
    ['a wrong path that looks like an id', () => 'demo/moep', /got nothing there, seen from /],
    ['a path that only shells know', () => '~/models/mixtral', /only shells replace ~/],
    ['weights that are LFS pointers', () => changed({ 'model.safetensors': pointer }), lfs()],
    ['a tokenizer that is one', () => changed({ 'tokenizer.model': pointer }), lfs()],
    ['a configuration that is one', () => changed({ 'config.json': pointer }), lfs()],
    [
      'a part that is one',
      () => emptied({ 'model-00001-of-00002.safetensors': pointer }),
      /model-00001-of-00002\.safetensors: must be the file itself, got a Git LFS pointer/,
    ],
    [
      'a web page for a configuration',
      () => changed({ 'config.json': '<!DOCTYPE html><html>Sign in' }),
      /config\.json: must be the file itself, got a web page/,
    ],
    [
      'a GGUF file',
      () => path.join(folder({ 'a.Q4_K_M.gguf': 'GGUF' }), 'a.Q4_K_M.gguf'),
      /got a GGUF file, which is llama\.cpp's format/,
    ],
    ['a GGUF file by its contents', () => path.join(folder({ m: 'GGUF' }), 'm'), /got a GGUF file/],
    [
      'a folder of GGUF',
      () => folder({ 'a.gguf': 'GGUF', 'README.md': '' }),
      /GGUF file \(a\.gguf\)/,
    ],
    ['GGUF beside a config.json', () => emptied({ 'a.gguf': 'GGUF' }), /GGUF file \(a\.gguf\)/],
    [
      'a file of the folder',
      () => path.join(checkpoint, 'model.safetensors'),
      /must be a folder, got a file; give the folder that it is in/,
    ],
    [
      "a model's folder in the hub's cache",
      () => path.join(hubCache(), 'hub', 'models--org--name'),
      /in the cache of the hub; give \S+\/snapshots\/abc$/,
    ],
    [
      'its snapshots',
      () => path.join(hubCache(), 'hub', 'models--org--name', 'snapshots'),
      /give \S+\/snapshots\/abc$/,
    ],
    [
      'the whole cache',
      hubCache,
      /the cache of the hub; give a snapshot in it, such as \S+abc|<rev/,
    ],
    ['its models', () => path.join(hubCache(), 'hub'), /models--org--name\/snapshots\/<revision>$/],
    [
      'a LoRA adapter',
      () =>
        folder({
          'adapter_config.json': '{"base_model_name_or_path": "mistralai/Mixtral-8x7B-v0.1"}',
          'adapter_model.safetensors': '',
        }),
      /got a LoRA adapter; load its base model mistralai\/Mixtral-8x7B-v0\.1 and give .* loadAdapter/,
    ],
    [
      'an adapter whose configuration is damaged',
      () => folder({ 'adapter_config.json': '{' }),
      /got a LoRA adapter; load its base model and give .* loadAdapter/,
    ],
    [
      "Mistral's original layout",
      () => folder({ 'params.json': '{}', 'consolidated.00.pth': '' }),
      /got Mistral's original layout/,
    ],
    [
      'its safetensors',
      () => folder({ 'consolidated.safetensors': '' }),
      /got Mistral's original layout/,
    ],
    [
      'the folder above',
      () => folder({ 'Mixtral/config.json': '{}', 'other/x': '' }),
      /must hold config\.json, got none; give \S+\/Mixtral$/,
    ],
    ['nothing at all', () => folder({}), /config\.json: file must exist, got nothing there/],
  ])('%s', async (_, dir, message) => {
    const error = await failure(() => loadModel(dir(), { device: 'cpu', maxTokens: 32 }))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(message)
  })

  function lfs(): RegExp {
    return /must be the file itself, got a Git LFS pointer to it \(4548680 bytes\); run `git lfs install` and `git lfs pull`/
  }

  it('convertCheckpoint says the same', async () => {
    const dir = folder({ 'config.json': '{}', 'pytorch_model.bin': pointer })
    const error = await failure(() => convertCheckpoint(dir, path.join(temporaryFolder(), 'out')))
    expect(error).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(lfs()),
    })
  })
})

describe('a folder', () => {
  const logits = async (dir: string | URL) => {
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    return (await model.forward([1, 2])).logits
  }

  it('may be a file: URL, as text and as URL', async () => {
    const url = pathToFileURL(checkpoint)
    const want = await logits(checkpoint)
    expect(await logits(url)).toEqual(want)
    expect(await logits(url.href)).toEqual(want)
    expect(await failure(() => loadModel('file://host/share'))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringMatching(/^loadModel: dir must be the path of a folder or a file: URL/),
    })
  })

  it('may be a snapshot of links in the cache of the hub', async () => {
    const snapshot = path.join(hubCache(), 'hub', 'models--org--name', 'snapshots', 'abc')
    expect(await logits(snapshot)).toEqual(await logits(checkpoint))
  })

  it("may have Mistral's original files beside the others", async () => {
    const dir = changed({ 'params.json': '{}', 'consolidated.00.pth': '' })
    expect(await logits(dir)).toEqual(await logits(checkpoint))
  })
})
