/** The official client, of either version. */
export function openai(OpenAI, baseURL) {
  const client = (apiKey = 'secret') => new OpenAI({ baseURL, apiKey, maxRetries: 0 })
  const body = ({ user, most = 4 }, more = {}) => ({
    ...{ model: 'demo', temperature: 0, max_tokens: most },
    ...{ messages: [{ role: 'user', content: user }], ...more },
  })
  const failed = async (call, Kind) => {
    try {
      await call
    } catch (error) {
      if (!(error instanceof Kind)) throw error
      return { status: error.status, message: error.error.message }
    }
    throw new Error('nothing was refused')
  }
  const { completions } = client().chat
  return {
    async completion({ prompt, most }) {
      const asked = { model: 'demo', temperature: 0, max_tokens: most, prompt }
      return { text: (await client().completions.create(asked)).choices[0].text }
    },
    async chat(asked) {
      const { choices, usage } = await completions.create(body(asked))
      const { prompt_tokens: input, completion_tokens: output } = usage
      return { text: choices[0].message.content, usage: { input, output } }
    },
    async stream(asked) {
      const pieces = []
      for await (const { choices } of await completions.create(body(asked, { stream: true })))
        pieces.push(choices[0].delta.content ?? '')
      return { text: pieces.join(''), pieces: pieces.length }
    },
    async logprobs(asked) {
      const more = { logprobs: true, top_logprobs: 2 }
      return { tokens: (await completions.create(body(asked, more))).choices[0].logprobs.content }
    },
    async schema(asked) {
      const json_schema = { name: 'answer', schema: asked.schema, strict: true }
      const more = { response_format: { type: 'json_schema', json_schema } }
      return { value: (await completions.parse(body(asked, more))).choices[0].message.parsed }
    },
    async tools({ tool, ...asked }) {
      const tools = [{ type: 'function', function: tool }]
      const more = { tools, tool_choice: 'required', parallel_tool_calls: false }
      const { choices } = await completions.stream(body(asked, more)).finalChatCompletion()
      const [{ function: called }] = choices[0].message.tool_calls
      return { name: called.name, input: JSON.parse(called.arguments) }
    },
    notFound: (asked) =>
      failed(completions.create(body(asked, { model: asked.model })), OpenAI.NotFoundError),
    badRequest: (asked) =>
      failed(
        completions.create(body(asked, { temperature: asked.temperature })),
        OpenAI.BadRequestError,
      ),
    noKey: (asked) =>
      failed(client(asked.key).chat.completions.create(body(asked)), OpenAI.AuthenticationError),
  }
}
