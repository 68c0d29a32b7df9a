const nameWidth = 13
const lineWidth = 80

/** Lines of at most `width` characters, cut between words; a longer word stays whole. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

/** Names and what they are, for a terminal of 80 columns. */
export function rows(all: readonly (readonly [name: string, text: string])[]): string {
  const lines = all.flatMap(([name, text]) =>
    wrapped(text, lineWidth - nameWidth - 1).map(
      (line, i) => `${(i === 0 ? name : '').padEnd(nameWidth)} ${line}\n`,
    ),
  )
  return lines.join('')
}

/** One item of a list, likewise. */
export const listItem = (text: string): string =>
  wrapped(text, lineWidth - 2)
    .map((line, i) => `${i === 0 ? '-' : ' '} ${line}\n`)
    .join('')
