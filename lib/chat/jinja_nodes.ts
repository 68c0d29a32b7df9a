import * as library from '@huggingface/jinja'

/** What the parser gives; by `type`, the fields that there are. */
export type Node =
  | { type: 'Program'; body: Node[] }
  | { type: 'If'; test: Node; body: Node[]; alternate: Node[] }
  | { type: 'For'; loopvar: Node; iterable: Node; body: Node[]; defaultBlock: Node[] }
  | { type: 'Break' | 'Continue' | 'Comment' }
  | { type: 'Set'; assignee: Node; value: Node | null; body: Node[] }
  | { type: 'Macro'; name: Named; args: Node[]; body: Node[] }
  | { type: 'CallStatement'; call: Call; callerArgs: Node[] | null; body: Node[] }
  | { type: 'FilterStatement'; filter: Named | Call; body: Node[] }
  | { type: 'MemberExpression'; object: Node; property: Node; computed: boolean }
  | Call
  | Named
  | { type: 'IntegerLiteral' | 'FloatLiteral'; value: number }
  | { type: 'StringLiteral'; value: string }
  | { type: 'ArrayLiteral' | 'TupleLiteral'; value: Node[] }
  | { type: 'ObjectLiteral'; value: Map<Node, Node> }
  | Binary
  | { type: 'FilterExpression'; operand: Node; filter: Named | Call }
  | { type: 'SelectExpression'; lhs: Node; test: Node }
  | { type: 'TestExpression'; operand: Node; negate: boolean; test: Named }
  | { type: 'UnaryExpression'; operator: { value: string }; argument: Node }
  | { type: 'SliceExpression'; start?: Node; stop?: Node; step?: Node }
  | { type: 'KeywordArgumentExpression'; key: Named; value: Node }
  | { type: 'SpreadExpression' | 'KeywordSpreadExpression'; argument: Node }
  | { type: 'Ternary'; condition: Node; trueExpr: Node; falseExpr: Node }

export interface Named {
  type: 'Identifier'
  value: string
}
export interface Call {
  type: 'CallExpression'
  callee: Node
  args: Node[]
}
export interface Binary {
  type: 'BinaryExpression'
  operator: { value: string }
  left: Node
  right: Node
}
export type Program = Extract<Node, { type: 'Program' }>

/** What is used of the library; its own declarations do not resolve in ES modules. */
interface Parser {
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown
  parse(tokens: unknown): Program
}
const { parse, tokenize } = library as unknown as Parser

/** As transformers sets Jinja up: blocks take their line's end and indentation along. */
export const parseTemplate = (source: string): Program =>
  parse(tokenize(source.replace(/\r\n?/g, '\n'), { lstrip_blocks: true, trim_blocks: true }))
