import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type ChatMessage, loadModel, type Model, randomModel } from '../../lib/index.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const demo = `${root}/demo/moepp-tiny`
const options = { device: 'cpu', maxTokens: 512 } as const
const messages: ChatMessage[] = [
  { role: 'user', content: 'Good morrow.' },
  { role: 'assistant', content: 'My lady!' },
  { role: 'user', content: 'Who calls?' },
]
const promptOf = (model: Model) => model.applyChatTemplate(messages)

const tiny = {
  ...{ model_type: 'mixtral', vocab_size: 40, hidden_size: 32, num_hidden_layers: 1 },
  ...{ num_attention_heads: 2, intermediate_size: 16 },
}

/** A copy of the demo with other files and settings of its tokenizer. */
async function withFiles(files: Record<string, string>, config: object = {}): Promise<Model> {
  const dir = copyCheckpoint(demo)
  editJson(path.join(dir, 'tokenizer_config.json'), (json) => Object.assign(json, config))
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text)
  return loadModel(dir, options)
}

describe('where a template comes from', () => {
  const own = '{{ messages[0].content }}'

  it('chat_template.jinja wins over tokenizer_config.json', async () => {
    await using model = await withFiles({}, { chat_template: own })
    expect((await promptOf(model)).text).toMatch(/^JULIET:\nGood morrow\.\n\nROMEO:/)
  })

  it.each([
    ['a text', '{{ bos_token }}b', '<s>b'],
    [
      'a list of named ones',
      [
        { name: 'other', template: 'o' },
        { name: 'default', template: 'd' },
      ],
      'd',
    ],
  ])('tokenizer_config.json: %s', async (_, template, text) => {
    const dir = copyCheckpoint(`${root}/demo/mixtral-tiny`)
    editJson(path.join(dir, 'tokenizer_config.json'), (json) => {
      json.chat_template = template
      json.bos_token = { content: '<s>', lstrip: false } // as added tokens are written
    })
    await using model = await loadModel(dir, options)
    expect((await promptOf(model)).text).toBe(text)
  })

  it('the one for tools is taken where there are tools', async () => {
    const dir = copyCheckpoint(`${root}/demo/mixtral-tiny`)
    const named = [
      { name: 'default', template: 'd' },
      { name: 'tool_use', template: 't{{ tools[0].function.name }}' },
    ]
    editJson(path.join(dir, 'tokenizer_config.json'), (json) => {
      json.chat_template = named
    })
    await using model = await loadModel(dir, options)
    const tools = [{ type: 'function', function: { name: 'add' } }] as const
    expect((await promptOf(model)).text).toBe('d')
    expect((await model.applyChatTemplate(messages, { tools })).text).toBe('tadd')
    expect((await model.applyChatTemplate(messages, { tools: [] })).text).toBe('d')
  })

  it('the one for tools has a file of its own beside chat_template.jinja', async () => {
    const dir = copyCheckpoint(demo)
    mkdirSync(path.join(dir, 'additional_chat_templates'))
    writeFileSync(
      path.join(dir, 'additional_chat_templates/tool_use.jinja'),
      't{{ tools[0].function.name }}',
    )
    await using model = await loadModel(dir, options)
    const tools = [{ type: 'function', function: { name: 'add' } }] as const
    expect((await model.applyChatTemplate(messages, { tools })).text).toBe('tadd')
    expect((await promptOf(model)).text).not.toMatch(/^t/)
  })

  it('the caller’s wins over all', async () => {
    await using model = await loadModel(demo, options)
    const { text } = await model.applyChatTemplate(messages, {
      chatTemplate: '{{ messages | length }} {{ flag }}{{ 9 if add_generation_prompt }}',
      templateVariables: { flag: 7, messages: [] },
      addGenerationPrompt: false,
    })
    expect(text).toBe('3 7')
  })

  it.each([
    [
      'no text',
      { chat_template: 7 },
      'ERR_MOE_CHECKPOINT',
      /chat_template: template must be a text/,
    ],
    [
      'no list of texts',
      { chat_template: [{ name: 'default' }] },
      'ERR_MOE_CHECKPOINT',
      /default: template must be a text/,
    ],
  ])('a damaged one: %s', async (_, config, code, message) => {
    const dir = copyCheckpoint(`${root}/demo/mixtral-tiny`)
    editJson(path.join(dir, 'tokenizer_config.json'), (json) => Object.assign(json, config))
    const error = await failure(() => loadModel(dir, options))
    expect(error).toMatchObject({ code })
    expect(error.message).toMatch(message)
  })

  it('one that is no Jinja fails the chat, not the model', async () => {
    await using model = await withFiles({ 'chat_template.jinja': '{% for %}' })
    await model.generate([1], { maxNewTokens: 1 })
    expect(await failure(() => model.chat(messages))).toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
  })

  it('without one, or without a tokenizer, a chat says so', async () => {
    await using none = await loadModel(`${root}/demo/mixtral-tiny`, options)
    expect(await failure(() => none.chat(messages))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/^chat: checkpoint must have a chat template/),
    })
    await using random = await randomModel(
      { ...tiny, num_local_experts: 4, num_experts_per_tok: 2 },
      options,
    )
    expect(await failure(() => random.applyChatTemplate(messages))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: 'applyChatTemplate: model must have a tokenizer, got none',
    })
  })
})

describe('Yuan', () => {
  const model = useModel(`${root}/demo/yuan-tiny`, options)

  it('joins turns by <n> and ends with <sep>, without BOS', async () => {
    const { text, ids } = await promptOf(model())
    expect(text).toBe('Good morrow.<n>My lady!<n>Who calls?<sep>')
    const sep = model().tokenizer!.specialIds.get('<sep>')
    expect(ids).toEqual(model().tokenizer!.encode(text, { addSpecialTokens: false }))
    expect([ids.at(-1), ids.includes(model().tokenizer!.bosId!)]).toEqual([sep, false])
  })

  it('knows no system', async () => {
    const system = [{ role: 'system', content: 'x' }, ...messages]
    expect(await failure(() => model().chat(system))).toMatchObject({ code: 'ERR_MOE_OPTION' })
  })
})

describe('a chat', () => {
  const model = useModel(demo, options)
  const asked = { maxNewTokens: 12, stopIds: [] }

  it('answers as generate does with the ids of the template', async () => {
    const { ids } = await promptOf(model())
    const answer = await model().chat(messages, asked)
    expect(answer).toMatchObject({ finishReason: 'length', usage: { promptTokens: ids.length } })
    expect(answer.ids).toEqual((await model().generate(ids, asked)).ids)
    let streamed = ''
    for await (const { text } of model().chat(messages, asked)) streamed += text
    expect(streamed).toBe(answer.text)
  })

  it('ends at what the template puts behind an answer', async () => {
    const { ids } = await model().chat(messages, { maxNewTokens: 12, stopIds: [] })
    const id = ids[3]!
    const first = ids.indexOf(id)
    // A token that comes anyway is the special one that ends a turn.
    const added = {
      content: '<end>',
      special: true,
      lstrip: false,
      rstrip: false,
      normalized: false,
    }
    const template =
      "{% for m in messages %}{{ ('ROMEO' if m.role == 'assistant' else 'JULIET') + ':\\n' + m.content }}" +
      "{{ '<end>' if m.role == 'assistant' and loop.last and not add_generation_prompt else '\\n\\n' }}" +
      "{% endfor %}{{ 'ROMEO:\\n' if add_generation_prompt }}"
    await using other = await withFiles(
      { 'chat_template.jinja': template },
      { added_tokens_decoder: { [id]: added } },
    )
    const ended = await other.chat(messages, { maxNewTokens: 12 })
    expect(ended).toMatchObject({ finishReason: 'stop', stopReason: id, ids: ids.slice(0, first) })
    const all = await other.chat(messages, { maxNewTokens: 12, stopIds: [] })
    expect(all.ids).toEqual(ids)
  })

  it('options are those of generate and of the template, by name', async () => {
    const wrong = (options: object) => failure(() => model().chat(messages, options))
    expect((await wrong({ maxTokens: 3 })).message).toMatch(
      /^chat: option "maxTokens".*maxNewTokens/,
    )
    expect((await wrong({ addGenerationPrompt: true })).code).toBe('ERR_MOE_OPTION')
    expect((await wrong({ chatTemplate: 7 })).message).toMatch(
      /^chat: chatTemplate must be a string/,
    )
    expect((await wrong({ templateVariables: { f: () => 1 } })).message).toMatch(
      /^chat: templateVariables\.f must be a value that JSON can say/,
    )
    expect((await wrong({ temperature: -1 })).message).toMatch(/temperature must be/)
  })

  it('an abort ends it', async () => {
    const abort = new AbortController()
    abort.abort(new Error('enough'))
    expect(await failure(() => model().chat(messages, { signal: abort.signal }))).toBe(
      abort.signal.reason,
    )
  })
})

describe('messages', () => {
  const model = useModel(demo, options)
  const one = (message: unknown) => model().applyChatTemplate([message] as ChatMessage[])

  it('parts become lines; no content is an empty one', async () => {
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
    ]
    expect((await one({ role: 'user', content: parts })).text).toContain('JULIET:\na\nb\n')
    expect((await one({ role: 'user' })).text).toContain('JULIET:\n\n')
    expect((await one({ role: 'user', content: null })).text).toContain('JULIET:\n\n')
  })

  it.each([
    ['nothing', [], 'messages must be a list of at least one message'],
    ['no list', { role: 'user' }, 'messages must be a list of at least one message'],
    ['no object', ['x'], 'messages[0] must be an object'],
    ['no role', [{ content: 'x' }], 'messages[0].role must be a non-empty string'],
    ['a number', [{ role: 'user', content: 7 }], 'messages[0].content must be a string, or'],
    [
      'a picture',
      [{ role: 'user', content: [{ type: 'image_url' }] }],
      "messages[0].content[0].type must be 'text'",
    ],
    ['a part that is none', [{ role: 'user', content: [null] }], 'messages[0].content[0] must be'],
    [
      'a part without text',
      [{ role: 'user', content: [{ type: 'text' }] }],
      'messages[0].content[0].text must be',
    ],
    [
      'calls that are none',
      [{ role: 'assistant', tool_calls: 'x' }],
      'messages[0].tool_calls must be a list',
    ],
    [
      'a call of nothing',
      [{ role: 'assistant', tool_calls: [{}] }],
      'messages[0].tool_calls.function must be',
    ],
    [
      'a call without arguments',
      [{ role: 'assistant', tool_calls: [{ function: { name: 'f' } }] }],
      'messages[0].tool_calls.function.arguments must be',
    ],
    [
      'a function',
      [{ role: 'user', content: 'x', extra: () => 1 }],
      'messages[0].extra must be a value that JSON can say',
    ],
  ])('%s is refused', async (_, given, message) => {
    const error = await failure(() => model().applyChatTemplate(given as never))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    expect(error.message).toContain(`applyChatTemplate: ${message}`)
  })

  it('that hold themselves are refused', async () => {
    const circular: Record<string, unknown> = { role: 'user', content: 'x' }
    circular.self = circular
    expect((await failure(() => one(circular))).message).toMatch(/must be at most 64 levels deep/)
  })
})

describe('special tokens in messages stay text', () => {
  const llama = path.join(fixture('tokenizer'), 'llama3.json')
  const gpt = path.join(fixture('tokenizer'), 'gpt2.json')

  it.each([
    ['SentencePiece', undefined, '<eod>'],
    ['tokenizer.json', llama, '<s>'],
    ['tokenizer.json, bytes', gpt, '<s>'],
  ])('%s', async (_, json, token) => {
    const dir = copyCheckpoint(`${root}/demo/mixtral-tiny`)
    if (json) {
      cpSync(json, path.join(dir, 'tokenizer.json'))
      rmSync(path.join(dir, 'tokenizer.model'))
    }
    await using model = await loadModel(dir, options)
    const chatTemplate = `${token}{% for m in messages %}{{ m.content }}${token}{% endfor %}`
    const { tokenizer } = model
    const id = tokenizer!.specialIds.get(token)!
    const count = (ids: number[]) => ids.filter((one) => one === id).length
    for (const content of [
      `a ${token} b`,
      token.repeat(3),
      `${token.slice(0, 2)}${token}${token.slice(2)}`,
      `\ufdd0 ${token}`,
    ]) {
      const { text, ids } = await model.applyChatTemplate([{ role: 'user', content }], {
        chatTemplate,
      })
      expect(text).toBe(`${token}${content}${token}`)
      expect([content, count(ids)]).toEqual([content, 2])
      const decoded = tokenizer!.decode(ids.slice(1, -1)).replaceAll(' ', '')
      expect(decoded).toBe(content.replaceAll(' ', ''))
    }
    const calm = await model.applyChatTemplate([{ role: 'user', content: 'a calm text' }], {
      chatTemplate,
    })
    const whole = `${token}a calm text${token}`
    expect(calm.ids).toEqual(tokenizer!.encode(whole, { addSpecialTokens: false }))
  })

  it('no noncharacter left to tell text apart by', async () => {
    await using model = await loadModel(demo, options)
    const all = Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i)).join('')
    expect(
      await failure(() => model.applyChatTemplate([{ role: 'user', content: all }])),
    ).toMatchObject({ code: 'ERR_MOE_OPTION' })
  })
})
