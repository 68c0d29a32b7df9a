import { badOption } from '../errors.ts'
import { readList } from '../options.ts'
import type { Json } from '../weights/json.ts'
import { Float } from './jinja_values.ts'

/** A part of a message's content. */
export interface TextPart {
  type: 'text'
  text: string
}

/** A call that the model has made, in an assistant's message. */
export interface ToolCall {
  id?: string | undefined
  type?: 'function' | undefined
  /** `arguments`: JSON as text, or the object; the template gets the one it wants. */
  function: { name: string; arguments: string | object }
}

/** One turn of a conversation. Other keys are passed on to the template, which reads what it knows. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool`, or what else the template knows. */
  role: string
  /** Text. Parts become lines of one text. */
  content?: string | readonly TextPart[] | null | undefined
  name?: string | undefined
  tool_calls?: readonly ToolCall[] | undefined
  tool_call_id?: string | undefined
  reasoning_content?: string | undefined
}

/** A function that the model may call. */
export interface ChatTool {
  type: 'function'
  function: {
    name: string
    description?: string | undefined
    /** JSON schema of the arguments. */
    parameters?: object | undefined
  }
}

/** Deeper values are no messages. */
const maxDepth = 64

/** A copy of what JSON can say; undefined is left out. */
export function copyJson(where: string, name: string, value: unknown, depth = 0): unknown {
  const bad = (): never => badOption(where, name, 'a value that JSON can say', value)
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : bad()
  if (typeof value !== 'object') return bad()
  if (depth === maxDepth) return badOption(where, name, `at most ${maxDepth} levels deep`, value)
  if (Array.isArray(value)) {
    let i = 0
    return readList(value, (item) => copyJson(where, `${name}[${i++}]`, item, depth + 1), bad)
  }
  const copy = Object.entries(value).flatMap(([key, item]) =>
    item === undefined ? [] : [[key, copyJson(where, `${name}.${key}`, item, depth + 1)] as const],
  )
  return Object.fromEntries(copy)
}

/** Parts as one text: most templates take text alone. */
function readContent(where: string, name: string, content: unknown): string | null | undefined {
  if (content === undefined || content === null || typeof content === 'string') return content
  const bad = (): never => badOption(where, name, 'a string, or a list of text parts', content)
  if (!Array.isArray(content)) return bad()
  const texts = content.map((part: unknown, i) => {
    const { type, text } = isObject(part)
      ? part
      : badOption(where, `${name}[${i}]`, 'an object', part)
    if (type !== 'text') badOption(where, `${name}[${i}].type`, "'text'", type)
    return typeof text === 'string'
      ? text
      : badOption(where, `${name}[${i}].text`, 'a string', text)
  })
  return texts.join('\n')
}

function readCall(where: string, name: string, call: unknown): Json {
  const { function: called } = isObject(call) ? call : badOption(where, name, 'an object', call)
  if (!isObject(called)) return badOption(where, `${name}.function`, 'an object', called)
  if (typeof called.name !== 'string')
    badOption(where, `${name}.function.name`, 'a string', called.name)
  const { arguments: given } = called
  if (typeof given !== 'string' && !isObject(given))
    badOption(where, `${name}.function.arguments`, 'a string or an object', given)
  return call as Json
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A copy of a conversation, checked as far as templates rely on it. */
export function readMessages(where: string, messages: unknown): Json[] {
  const copy = Array.isArray(messages) ? copyJson(where, 'messages', messages) : undefined
  if (!Array.isArray(copy) || copy.length === 0)
    return badOption(where, 'messages', 'a list of at least one message', messages)
  return copy.map((message: unknown, i) => {
    const name = `messages[${i}]`
    if (!isObject(message)) return badOption(where, name, 'an object', message)
    const { role, content, tool_calls: calls } = message
    if (typeof role !== 'string' || role === '')
      badOption(where, `${name}.role`, 'a non-empty string', role)
    for (const key of ['name', 'tool_call_id', 'reasoning_content'])
      if (message[key] !== undefined && message[key] !== null && typeof message[key] !== 'string')
        badOption(where, `${name}.${key}`, 'a string', message[key])
    const text = readContent(where, `${name}.content`, content)
    if (calls === undefined || calls === null) return { ...message, content: text ?? '' }
    const bad = (): never => badOption(where, `${name}.tool_calls`, 'a list', calls)
    const list = readList(calls, (call) => readCall(where, `${name}.tool_calls`, call), bad)
    return { ...message, content: text ?? '', tool_calls: list }
  })
}

/** A copy of the tools, in the form that templates expect; undefined: none. */
export function readTools(where: string, tools: unknown): Json[] | undefined {
  if (tools === undefined) return undefined
  const copy = copyJson(where, 'tools', tools)
  if (!Array.isArray(copy)) return badOption(where, 'tools', 'a list', tools)
  for (const [i, tool] of copy.entries()) {
    const called = isObject(tool) && tool.type === 'function' && tool.function
    if (!isObject(called) || typeof called.name !== 'string' || called.name === '')
      badOption(where, `tools[${i}]`, "{ type: 'function', function: { name, … } }", tool)
    if (called.parameters !== undefined && !isObject(called.parameters))
      badOption(where, `tools[${i}].function.parameters`, 'an object', called.parameters)
  }
  return copy.length === 0 ? undefined : copy
}

/** The same value with every string changed. */
export function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change))
  if (typeof value !== 'object' || value === null || value instanceof Float) return value
  const entries = Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)])
  return Object.fromEntries(entries)
}
