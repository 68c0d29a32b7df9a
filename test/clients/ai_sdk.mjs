import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import {
  APICallError,
  generateObject,
  generateText,
  jsonSchema,
  tool as makeTool,
  streamText,
} from 'ai'

/** Vercel's AI SDK. It has no logprobs for compatible servers. */
export function aiSdk(baseURL) {
  const provider = (apiKey = 'secret') =>
    createOpenAICompatible({ name: 'moe', baseURL, apiKey, supportsStructuredOutputs: true })
  const asked = ({ user, prompt = user, most = 4 }, model = provider().chatModel('demo')) => ({
    ...{ model, prompt, maxOutputTokens: most, temperature: 0, maxRetries: 0 },
  })
  const failed = async (call) => {
    try {
      await call
    } catch (error) {
      if (!APICallError.isInstance(error)) throw error
      return { status: error.statusCode, message: error.message }
    }
    throw new Error('nothing was refused')
  }
  return {
    async completion(request) {
      const model = provider().completionModel('demo')
      return { text: (await generateText(asked(request, model))).text, framed: true }
    },
    async chat(request) {
      const { text, usage } = await generateText(asked(request))
      return { text, usage: { input: usage.inputTokens, output: usage.outputTokens } }
    },
    async stream(request) {
      const pieces = []
      for await (const piece of streamText(asked(request)).textStream) pieces.push(piece)
      return { text: pieces.join(''), pieces: pieces.length }
    },
    async schema(request) {
      const schema = jsonSchema(request.schema)
      return { value: (await generateObject({ ...asked(request), schema })).object }
    },
    async tools({ tool, ...request }) {
      const { description, parameters } = tool
      const weather = makeTool({ description, inputSchema: jsonSchema(parameters) })
      const more = { tools: { weather }, toolChoice: 'required' }
      const [call] = (await generateText({ ...asked(request), ...more })).toolCalls
      return { name: call.toolName, input: call.input }
    },
    notFound: (request) =>
      failed(generateText(asked(request, provider().chatModel(request.model)))),
    badRequest: (request) =>
      failed(generateText({ ...asked(request), temperature: request.temperature })),
    noKey: (request) =>
      failed(generateText(asked(request, provider(request.key).chatModel('demo')))),
  }
}
