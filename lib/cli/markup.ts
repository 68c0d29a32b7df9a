const entities: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' },
}

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (one) => entities[one]!)

/** HTML that is right. */
export class Markup {
  readonly #html: string

  constructor(html: string) {
    this.#html = html
  }

  toString(): string {
    return this.#html
  }
}

type Part = Markup | string | number

/** HTML from a template: texts in it are escaped, in attributes, too. */
export function markup(
  texts: TemplateStringsArray,
  ...parts: readonly (Part | readonly Part[])[]
): Markup {
  const html = (part: Part): string =>
    part instanceof Markup ? String(part) : escapeHtml(String(part))
  const between = parts.map((part) => (Array.isArray(part) ? part : [part]).map(html).join(''))
  return new Markup(texts.map((text, i) => text + (between[i] ?? '')).join(''))
}
