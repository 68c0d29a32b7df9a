export function innerLoops(
  object: string,
  functions?: RegExp,
  minimum?: number,
): { name: string; at: string; multiplyAdds: number; stack: number }[]
