/** GPT-2's letters for bytes. */
export const byteLetters = ((): string[] => {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++))
})()

const known = new Set(byteLetters)

/** The bytes that letters stand for. */
export const bytesOf = (letters: string): number[] =>
  Array.from(letters, (letter) => byteLetters.indexOf(letter))

/** A text's bytes as letters. */
export const lettersOf = (text: string): string =>
  Array.from(Buffer.from(text), (byte) => byteLetters[byte]!).join('')

/** Whether all of a piece is such letters. */
export const inLetters = (piece: string): boolean => [...piece].every((letter) => known.has(letter))
