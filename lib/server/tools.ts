import { type CallForm, list, tags } from '../chat/call_forms.ts'
import type { ChatTool } from '../chat/messages.ts'
import type { Constraint } from '../constraints/constraint.ts'
import { toolGrammar } from '../constraints/tool_grammar.ts'
import type { Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { type Fields, isObject } from './fields.ts'

/** What a request says of tools. */
export interface ToolsAsked {
  /** Shown to the model. */
  tools: ChatTool[] | undefined
  /** How its answers are read; undefined: they are text. */
  form: CallForm | undefined
  /** Where it has to call. */
  constraint: Constraint | undefined
  /** Whether it may call more than once. */
  parallel: boolean
}

/** The function that must be called; undefined: any. */
function readName(choice: unknown): string | undefined {
  if (choice === 'required') return undefined
  const called = isObject(choice) && choice.type === 'function' ? choice.function : undefined
  if (isObject(called) && typeof called.name === 'string') return called.name
  const expected = "'auto', 'none', 'required' or { type: 'function', function: { name } }"
  return badParam('tool_choice', expected, choice)
}

/** @throws {Failure} where tools are asked for that the model cannot call */
export async function readTools(fields: Fields, { model }: Served): Promise<ToolsAsked> {
  const given = fields.list('tools') ?? []
  const choice = fields.value('tool_choice') ?? 'auto'
  const parallel = fields.flag('parallel_tool_calls') ?? true
  const form = model.tokenizer ? await model.toolCallForm().catch(() => undefined) : undefined
  // Channels are not text whether or not there are tools.
  const always = form?.name === 'channels' ? form : undefined
  if (given.length === 0 && choice !== 'auto' && choice !== 'none')
    badParam('tool_choice', "'none' or 'auto' without tools", choice)
  if (given.length === 0 || choice === 'none')
    return { tools: undefined, form: always, constraint: undefined, parallel }
  if (!form) unsupported('tools', 'how this model writes calls of tools is not known')
  const tools = given as ChatTool[]
  if (choice === 'auto') return { tools, form, constraint: undefined, parallel }
  const name = readName(choice)
  const callable = tools.flatMap((tool, i) => {
    const called: unknown = isObject(tool) ? tool.function : undefined
    if (!isObject(called) || typeof called.name !== 'string')
      return badParam(`tools[${i}]`, "{ type: 'function', function: { name, … } }", tool)
    const path = `tools[${i}].function.parameters`
    return { name: called.name, parameters: called.parameters, path }
  })
  const wanted = callable.filter((tool) => name === undefined || tool.name === name)
  if (wanted.length === 0) badParam('tool_choice', 'the name of one of the tools', name)
  const inTags = form?.name === 'tags'
  const several = parallel && name === undefined
  const grammar = toolGrammar('request', wanted, inTags ? 'tags' : 'list', several)
  return { tools, form: inTags ? tags : list, constraint: { grammar }, parallel }
}
