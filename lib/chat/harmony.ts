import {
  type AnswerParser,
  type CallDelta,
  firstMarker,
  heldBack,
  type ParsedPiece,
} from './answer_parser.ts'
import { harmonyMarkers as markers } from './call_forms.ts'

/**
 * gpt-oss' messages: `<|channel|>analysis<|message|>…<|end|>` are thoughts,
 * `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>` is a call, and others are the answer. From
 * the format's description; not checked against the publisher's own parser.
 */
export class HarmonyParser implements AnswerParser {
  #held = ''
  /** What stands before a message; undefined inside of one. */
  #header: string | undefined = ''
  #begun = false
  #kind: 'content' | 'reasoning' | 'call' = 'content'
  #calls = 0

  push(text: string): ParsedPiece {
    const out = { content: '', reasoning: '', calls: [] as CallDelta[] }
    this.#held += text
    for (;;) {
      const first = firstMarker(this.#held, markers)
      if (!first) break
      const { marker, at } = first
      this.#add(this.#held.slice(0, at), out)
      this.#held = this.#held.slice(at + marker.length)
      this.#mark(marker, out)
    }
    const keep = heldBack(this.#held, markers)
    this.#add(this.#held.slice(0, this.#held.length - keep), out)
    this.#held = this.#held.slice(this.#held.length - keep)
    return out
  }

  end(): ParsedPiece {
    const out = { content: '', reasoning: '', calls: [] as CallDelta[] }
    this.#add(this.#held, out)
    this.#held = ''
    if (!this.#begun) out.content += this.#header // no messages at all
    return out
  }

  #mark(marker: string, out: ParsedPiece): void {
    const header = `${this.#header ?? ''}\n`
    if (marker !== '<|message|>') {
      this.#header = header
      return
    }
    const [, name] = /to=functions\.([\w.-]+)/.exec(header) ?? []
    this.#kind = name ? 'call' : /analysis/.test(header) ? 'reasoning' : 'content'
    this.#header = undefined
    this.#begun = true
    if (name) out.calls.push({ index: this.#calls++, name, arguments: '' })
  }

  #add(text: string, out: ParsedPiece): void {
    if (text === '') return
    if (this.#header !== undefined) this.#header += text
    else if (this.#kind === 'call') out.calls.push({ index: this.#calls - 1, arguments: text })
    else if (this.#kind === 'reasoning') out.reasoning = (out.reasoning ?? '') + text
    else out.content += text
  }
}
