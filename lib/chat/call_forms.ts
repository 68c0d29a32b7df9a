/** How a family of models writes calls in its answers. */
export interface CallForm {
  name: 'tags' | 'brackets' | 'marked' | 'fences' | 'channels'
  /** Begins a call, or a list of them. */
  open: string
  /** Ends it; undefined: a list ends by itself. */
  close?: string
  /** What a call of it begins with, where others have the same markers. */
  begins?: RegExp
  /** What stands before the arguments, the function's name in its first group that has one. */
  head: RegExp
  /** Markers around all calls, which are no text. */
  around?: readonly string[]
  /** Further ones, inside. */
  inside?: readonly string[]
}

/** Of gpt-oss' messages. */
export const harmonyMarkers = [
  ...['start', 'channel', 'message', 'constrain', 'end', 'call', 'return'],
].map((name) => `<|${name}|>`)

const name = '([\\w.-]+)'
const quoted =
  '\\{\\s*"name"\\s*:\\s*"((?:[^"\\\\]|\\\\.)*)"\\s*,\\s*"(?:arguments|parameters)"\\s*:\\s*(?=\\{)'
const listed = new RegExp(`^\\s*[[,]\\s*${quoted}`)

/** Hermes, Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`. */
export const tags: CallForm = {
  name: 'tags',
  open: '<tool_call>',
  close: '</tool_call>',
  begins: /<tool_call>\s*\{/, // Qwen3-Coder's and GLM's are markup inside
  head: new RegExp(`^\\s*${quoted}`),
}

/** What a constraint makes of models whose markers are special tokens: the list alone. */
export const list: CallForm = { name: 'marked', open: '', head: listed }

/** Granite: `<|tool_call|>[{…}]`. */
const granite: CallForm = { name: 'marked', open: '<|tool_call|>', head: listed }

/** In the order in which they are looked for. */
const forms: readonly CallForm[] = [
  tags,
  {
    // Mistral: `[TOOL_CALLS][{…}]`; newer ones `[TOOL_CALLS]name[ARGS]{…}`.
    name: 'brackets',
    open: '[TOOL_CALLS]',
    inside: ['[CALL_ID]', '[ARGS]'],
    head: new RegExp(
      `${listed.source}|^\\s*${name}(?:\\[CALL_ID\\]\\w+)?(?:\\[ARGS\\])?\\s*(?=\\{)`,
    ),
  },
  granite,
  {
    // DeepSeek: the type, the name and fenced arguments; from V3.1 on the name and the arguments.
    name: 'fences',
    open: '<｜tool▁call▁begin｜>',
    close: '<｜tool▁call▁end｜>',
    head: new RegExp(
      `^function<｜tool▁sep｜>${name}\\n\`\`\`json\\n(?=\\{)|^${name}<｜tool▁sep｜>(?=\\{)`,
    ),
    around: ['<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'],
    inside: ['<｜tool▁sep｜>'],
  },
  // gpt-oss: channels; not checked against what the publisher has, see HarmonyParser.
  {
    name: 'channels',
    open: '<|channel|>',
    inside: harmonyMarkers,
    head: new RegExp(`to=functions\\.${name}`),
  },
]

/** What may be special tokens, which are no part of a text otherwise. */
export const markersOf = ({ open, close, around = [], inside = [] }: CallForm): string[] =>
  [open, close ?? '', ...around, ...inside].filter((marker) => marker !== '')

/**
 * How a model writes its calls; undefined: in a form that is not read here.
 *
 * @param shown what the template makes of a call
 */
export const callFormOf = (shown: string): CallForm | undefined =>
  forms.find(
    ({ open, close = '', begins }) =>
      shown.includes(open) && shown.includes(close) && (begins?.test(shown) ?? true),
  )

/**
 * The same of a template that leaves out the calls of earlier turns and says how one begins, as Granite's does.
 *
 * @param told what the template tells the model of tools
 */
export const callFormTold = (told: string): CallForm | undefined =>
  told.includes(granite.open) ? granite : undefined
