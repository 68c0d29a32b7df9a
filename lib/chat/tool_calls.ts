/** A call that an answer makes. */
export interface ParsedCall {
  name: string
  /** JSON, as the model wrote it. */
  arguments: string
}

/** What a piece of an answer adds. */
export interface ParsedPiece {
  content: string
  calls: ParsedCall[]
}

const open = '<tool_call>'
const close = '</tool_call>'

/** How a model writes its calls; undefined: in a form that is not read here. */
export type CallForm = 'tags' | undefined

/** @param shown what the template makes of a call */
export const callFormOf = (shown: string): CallForm =>
  shown.includes(open) && shown.includes(close) ? 'tags' : undefined

/**
 * Reads calls of the form `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen) out of an answer as it
 * comes. What looks like a call and is none stays text.
 */
export class CallParser {
  /** What may become a tag, or inside of one the call so far. */
  #held = ''
  #inside = false
  /** White space behind a call belongs to it. */
  #behindCall = false

  push(text: string): ParsedPiece {
    const out: ParsedPiece = { content: '', calls: [] }
    this.#held += text
    for (;;) {
      const tag = this.#inside ? close : open
      const at = this.#held.indexOf(tag)
      if (at < 0) break
      const before = this.#held.slice(0, at)
      this.#held = this.#held.slice(at + tag.length)
      if (this.#inside) this.#call(before, open + before + close, out)
      else this.#text(before, out)
      this.#inside = !this.#inside
    }
    if (this.#inside) return out
    let keep = Math.min(this.#held.length, open.length - 1)
    while (!open.startsWith(this.#held.slice(this.#held.length - keep))) keep--
    this.#text(this.#held.slice(0, this.#held.length - keep), out)
    this.#held = this.#held.slice(this.#held.length - keep)
    return out
  }

  /** What is left; the last call may lack its end. */
  end(): ParsedPiece {
    const out: ParsedPiece = { content: '', calls: [] }
    if (this.#inside) this.#call(this.#held, open + this.#held, out)
    else this.#text(this.#held, out)
    this.#held = ''
    return out
  }

  #text(text: string, out: ParsedPiece): void {
    const shown = this.#behindCall ? text.trimStart() : text
    if (shown !== '') this.#behindCall = false
    out.content += shown
  }

  #call(body: string, whole: string, out: ParsedPiece): void {
    const call = readCall(body)
    if (call) out.calls.push(call)
    else this.#text(whole, out)
    this.#behindCall = call !== undefined
  }
}

function readCall(body: string): ParsedCall | undefined {
  try {
    const { name, arguments: given = {} } = JSON.parse(body)
    if (typeof name !== 'string' || typeof given !== 'object' || given === null) return undefined
    return { name, arguments: JSON.stringify(given) }
  } catch {
    return undefined
  }
}
