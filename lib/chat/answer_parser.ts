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

/** The first of the markers in `text`; undefined where there is none. */
export function firstMarker(
  text: string,
  markers: readonly string[],
): { marker: string; at: number } | undefined {
  const places = markers.map((marker) => ({ marker, at: text.indexOf(marker) }))
  return places.filter(({ at }) => at >= 0).sort((a, b) => a.at - b.at)[0]
}
