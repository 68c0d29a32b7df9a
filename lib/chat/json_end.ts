/** Finds where an object or list of JSON ends that comes in pieces. */
export class JsonEnd {
  #depth = 0
  #inString = false
  #escaped = false

  /** Characters of `text` that belong to it; fewer than there are: it has ended. */
  take(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const letter = text[i]
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false
        else if (letter === '\\') this.#escaped = true
        else if (letter === '"') this.#inString = false
      } else if (letter === '"') this.#inString = true
      else if (letter === '{' || letter === '[') this.#depth++
      else if ((letter === '}' || letter === ']') && --this.#depth === 0) return i + 1
    }
    return text.length
  }

  get ended(): boolean {
    return this.#depth === 0
  }
}
