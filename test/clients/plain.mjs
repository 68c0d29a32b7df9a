/** Requests without a client. */
export function plain(baseURL) {
  async function post(route, body, key = 'secret') {
    const response = await fetch(`${baseURL}/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ model: 'demo', temperature: 0, ...body }),
    })
    return { status: response.status, json: await response.json() }
  }
  const messages = (user) => [{ role: 'user', content: user }]
  const chat = ({ user, most = 4 }, more = {}) =>
    post('chat/completions', { messages: messages(user), max_tokens: most, ...more })
  const failed = async (call) => {
    const { status, json } = await call
    return { status, message: json.error.message }
  }
  return {
    async completion({ prompt, most }) {
      const { json } = await post('completions', { prompt, max_tokens: most })
      return { text: json.choices[0].text }
    },
    async chat(asked) {
      const { json } = await chat(asked)
      const { prompt_tokens: input, completion_tokens: output } = json.usage
      return { text: json.choices[0].message.content, usage: { input, output } }
    },
    async stream(asked) {
      const { json } = await chat(asked)
      return { text: json.choices[0].message.content, pieces: asked.most }
    },
    async logprobs(asked) {
      const { json } = await chat(asked, { logprobs: true, top_logprobs: 2 })
      return { tokens: json.choices[0].logprobs.content }
    },
    async schema(asked) {
      const json_schema = { name: 'answer', schema: asked.schema, strict: true }
      const { json } = await chat(asked, { response_format: { type: 'json_schema', json_schema } })
      return { value: JSON.parse(json.choices[0].message.content) }
    },
    async tools({ tool, ...asked }) {
      const tools = [{ type: 'function', function: tool }]
      const more = { tools, tool_choice: 'required', parallel_tool_calls: false }
      const { json } = await chat(asked, more)
      const [{ function: called }] = json.choices[0].message.tool_calls
      return { name: called.name, input: JSON.parse(called.arguments) }
    },
    notFound: (asked) => failed(chat(asked, { model: asked.model })),
    badRequest: (asked) => failed(chat(asked, { temperature: asked.temperature })),
    noKey: ({ user, key }) => failed(post('chat/completions', { messages: messages(user) }, key)),
  }
}
