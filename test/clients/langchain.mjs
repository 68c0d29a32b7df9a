import { ChatOpenAI, OpenAI } from '@langchain/openai'

export function langchain(baseURL) {
  const options = ({ most = 4, key = 'secret', model = 'demo', temperature = 0 }, more = {}) => ({
    ...{ model, apiKey: key, temperature, maxTokens: most, maxRetries: 0 },
    ...{ configuration: { baseURL }, ...more },
  })
  const chat = (asked, more) => new ChatOpenAI(options(asked, more))
  const failed = async (asked) => {
    try {
      await chat(asked).invoke(asked.user)
    } catch (error) {
      return { status: error.status, message: error.error.message }
    }
    throw new Error('nothing was refused')
  }
  return {
    async completion(asked) {
      return { text: await new OpenAI(options(asked)).invoke(asked.prompt) }
    },
    async chat(asked) {
      const { content, usage_metadata } = await chat(asked).invoke(asked.user)
      const { input_tokens: input, output_tokens: output } = usage_metadata
      return { text: content, usage: { input, output } }
    },
    async stream(asked) {
      const pieces = []
      for await (const { content } of await chat(asked).stream(asked.user)) pieces.push(content)
      return { text: pieces.join(''), pieces: pieces.length }
    },
    async logprobs(asked) {
      const more = { logprobs: true, topLogprobs: 2 }
      const { response_metadata } = await chat(asked, more).invoke(asked.user)
      return { tokens: response_metadata.logprobs.content }
    },
    async schema(asked) {
      const how = { name: 'answer', method: 'jsonSchema', strict: true }
      const held = chat(asked).withStructuredOutput(asked.schema, how)
      return { value: await held.invoke(asked.user) }
    },
    async tools({ tool, ...asked }) {
      const tools = [{ type: 'function', function: tool }]
      const more = { tool_choice: 'required', parallel_tool_calls: false }
      const { tool_calls } = await chat(asked).bindTools(tools, more).invoke(asked.user)
      return { name: tool_calls[0].name, input: tool_calls[0].args }
    },
    notFound: failed,
    badRequest: failed,
    noKey: failed,
  }
}
