import { type AnswerParser, firstMarker, heldBack, type ParsedPiece } from './answer_parser.ts'
import type { CallForm } from './call_forms.ts'
import { HarmonyParser } from './harmony.ts'
import { JsonEnd } from './json_end.ts'

export const parserOf = (form: CallForm): AnswerParser =>
  form.name === 'channels' ? new HarmonyParser() : new CallParser(form)

/** Calls between markers. What looks like a call and is none stays text. */
export class CallParser implements AnswerParser {
  readonly #form: CallForm
  readonly #markers: readonly string[]
  #state: 'text' | 'head' | 'arguments' | 'behind'
  #held = ''
  #json = new JsonEnd()
  #calls = 0
  /** White space behind a call belongs to it. */
  #behindCall = false

  constructor(form: CallForm) {
    this.#form = form
    this.#markers = [form.open, ...(form.around ?? [])].filter((marker) => marker !== '')
    this.#state = form.open === '' ? 'head' : 'text'
  }

  push(text: string): ParsedPiece {
    const out: ParsedPiece = { content: '', calls: [] }
    this.#held += text
    while (this.#step(out));
    return out
  }

  end(): ParsedPiece {
    const out: ParsedPiece = { content: '', calls: [] }
    if (this.#state === 'head') this.#whole(this.#held, out)
    else if (this.#state === 'text') this.#text(this.#held, out)
    this.#held = ''
    return out
  }

  /** False when more text is needed. */
  #step(out: ParsedPiece): boolean {
    if (this.#state === 'text') return this.#readText(out)
    if (this.#state === 'head') return this.#readHead(out)
    if (this.#state === 'behind') return this.#readBehind()
    const length = this.#json.take(this.#held)
    if (length > 0)
      out.calls.push({ index: this.#calls - 1, arguments: this.#held.slice(0, length) })
    this.#held = this.#held.slice(length)
    if (this.#json.ended) this.#state = 'behind'
    return this.#json.ended
  }

  #readText(out: ParsedPiece): boolean {
    const first = firstMarker(this.#held, this.#markers)
    const end = first?.at ?? this.#held.length - heldBack(this.#held, this.#markers)
    this.#text(this.#held.slice(0, end), out)
    this.#held = this.#held.slice(end + (first?.marker.length ?? 0))
    if (first?.marker === this.#form.open) this.#state = 'head'
    else if (first) this.#behindCall = true
    return first !== undefined
  }

  #readHead(out: ParsedPiece): boolean {
    const { head, close } = this.#form
    const found = head.exec(this.#held)
    if (found) {
      const name = found.slice(1).find((group) => group !== undefined)!
      this.#begin(unescaped(name), '', out)
      this.#held = this.#held.slice(found[0].length)
      this.#json = new JsonEnd()
      this.#state = 'arguments'
      return true
    }
    const at = close === undefined ? -1 : this.#held.indexOf(close)
    if (at < 0) return false
    const body = this.#held.slice(0, at)
    this.#held = this.#held.slice(at + close!.length)
    this.#state = 'text'
    this.#whole(body, out, close)
    return true
  }

  /** Up to the end of a call, or the next one of a list. */
  #readBehind(): boolean {
    const { close } = this.#form
    const rest = this.#held.replace(/^[\s}]+/, '')
    const end = close === undefined ? 0 : this.#held.indexOf(close)
    if (end < 0 || (close === undefined && rest === '')) return false
    this.#state = close === undefined && rest.startsWith(',') ? 'head' : 'text'
    this.#behindCall = true
    this.#held =
      close === undefined ? rest.replace(/^\]/, '') : this.#held.slice(end + close.length)
    return true
  }

  #text(text: string, out: ParsedPiece): void {
    const shown = this.#behindCall ? text.trimStart() : text
    if (shown !== '') this.#behindCall = false
    out.content += shown
  }

  /** A call whose members come in another order, or that has no arguments. */
  #whole(body: string, out: ParsedPiece, close = ''): void {
    const call = readCall(body)
    if (call) this.#begin(call.name, call.arguments, out)
    else this.#text(this.#form.open + body + close, out)
    this.#behindCall = call !== undefined
  }

  #begin(name: string, given: string, out: ParsedPiece): void {
    out.calls.push({ index: this.#calls++, name, arguments: given })
  }
}

function unescaped(name: string): string {
  try {
    return JSON.parse(`"${name}"`)
  } catch {
    return name
  }
}

function readCall(body: string): { name: string; arguments: string } | undefined {
  try {
    const { name, arguments: given = {} } = JSON.parse(body)
    if (typeof name !== 'string' || typeof given !== 'object' || given === null) return undefined
    return { name, arguments: JSON.stringify(given) }
  } catch {
    return undefined
  }
}
