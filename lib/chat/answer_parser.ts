/** What a piece of an answer adds to one of its calls. */
export interface CallDelta {
  index: number
  /** With a call's first piece. */
  name?: string
  /** JSON, as the model writes it. */
  arguments: string
}

/** What a piece of an answer adds. */
export interface ParsedPiece {
  content: string
  /** Thoughts, in forms that set them apart. */
  reasoning?: string
  calls: CallDelta[]
}

/** Reads calls out of an answer as it comes. */
export interface AnswerParser {
  push(text: string): ParsedPiece
  /** What is left. */
  end(): ParsedPiece
}

/** Characters at the end of `text` that may become one of the markers. */
export function heldBack(text: string, markers: readonly string[]): number {
  let most = 0
  for (const marker of markers)
    for (let n = Math.min(text.length, marker.length - 1); n > most; n--)
      if (marker.startsWith(text.slice(text.length - n))) most = n
  return most
}
