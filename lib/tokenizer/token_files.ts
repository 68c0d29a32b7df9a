import path from 'node:path'
import { MoeError, shown } from '../errors.ts'
import { type Json, readJson } from '../weights/json.ts'
import type { AddedToken } from './added_tokens.ts'

const namedTokens: readonly string[] = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map(
  (name) => `${name}_token`,
)

/** Lists, or objects of named ones; the last two are of transformers 5. */
const moreTokens = [
  'additional_special_tokens',
  'extra_special_tokens',
  'model_specific_special_tokens',
]

/** What the files beside a tokenizer say about its tokens. */
export interface TokenFiles {
  /** tokenizer_config.json */
  config: Json
  bos: string | undefined
  eos: string | undefined
  /** Texts by role, such as `bos_token`: what chat templates call them. */
  roles: Readonly<Record<string, string>>
  added: AddedToken[]
  /** Tokens that a file gives a role, without saying their id. */
  named: Omit<AddedToken, 'id'>[]
}

/** Text of a token that a file names as a string or as { content }. */
function contentOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  const content = (value as Json | undefined | null)?.content
  return typeof content === 'string' ? content : undefined
}

/** A token as tokenizer.json and tokenizer_config.json write it; undefined: none. */
export function readToken(value: unknown, special: boolean): Omit<AddedToken, 'id'> | undefined {
  const content = contentOf(value)
  if (content === undefined || content === '') return undefined
  const json = typeof value === 'string' ? {} : (value as Json)
  const isSpecial = typeof json.special === 'boolean' ? json.special : special
  return {
    content,
    special: isSpecial,
    normalized: typeof json.normalized === 'boolean' ? json.normalized : !isSpecial,
    lstrip: json.lstrip === true,
    rstrip: json.rstrip === true,
    singleWord: json.single_word === true,
  }
}

/** Largest id that a file may give a token; sizes follow from ids. */
const mostIds = 2 ** 24

export function readId(label: string, what: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) < mostIds)
    return value as number
  throw new MoeError(
    'ERR_MOE_CHECKPOINT',
    `${label}: ${what} must be a token id, got ${shown(value)}`,
  )
}

const objectOf = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {}

const listOf = (value: unknown): unknown[] =>
  typeof value === 'object' && value !== null ? Object.values(value) : []

/** The `added_tokens` of a tokenizer.json. */
export function readAdded(label: string, json: Json): AddedToken[] {
  return listOf(json.added_tokens).flatMap((value) => {
    const token = readToken(value, false)
    return token ? [{ ...token, id: readId(label, 'added_tokens.id', (value as Json).id) }] : []
  })
}

/** Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json; the first that speaks wins. */
export function readTokenFiles(dir: string): TokenFiles {
  const configFile = path.join(dir, 'tokenizer_config.json')
  const config = readJson(configFile) ?? {}
  const special = readJson(path.join(dir, 'special_tokens_map.json')) ?? {}
  const named: TokenFiles['named'] = []
  for (const source of [config, special]) {
    const values = [
      ...namedTokens.map((name) => source[name]),
      ...moreTokens.flatMap((name) => listOf(source[name])),
    ]
    for (const value of values) {
      const token = readToken(value, true)
      if (token && !named.some(({ content }) => content === token.content))
        named.push({ ...token, special: true })
    }
  }
  const added = new Map<string, AddedToken>()
  for (const [id, value] of Object.entries(objectOf(config.added_tokens_decoder))) {
    const token = readToken(value, false)
    if (token) {
      const number = /^\d+$/.test(id) ? Number(id) : id
      added.set(token.content, {
        ...token,
        special: token.special || named.some(({ content }) => content === token.content),
        id: readId(configFile, 'the keys of added_tokens_decoder', number),
      })
    }
  }
  const addedFile = path.join(dir, 'added_tokens.json')
  for (const [content, id] of Object.entries(readJson(addedFile) ?? {})) {
    if (content === '' || added.has(content)) continue
    const token = named.find((one) => one.content === content) ?? readToken(content, false)!
    added.set(content, { ...token, id: readId(addedFile, JSON.stringify(content), id) })
  }
  const roles = namedTokens.flatMap((role) => {
    const text = contentOf(config[role]) ?? contentOf(special[role])
    return text === undefined ? [] : [[role, text] as const]
  })
  return {
    config,
    bos: contentOf(config.bos_token) ?? contentOf(special.bos_token),
    eos: contentOf(config.eos_token) ?? contentOf(special.eos_token),
    roles: Object.fromEntries(roles),
    added: [...added.values()],
    named,
  }
}
