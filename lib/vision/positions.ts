/**
 * Positions of patches in two dimensions (the published code of ViT's sincos2d): with q = width / 4 and
 * w[k] = temperature^(-k / (q - 1)), a row is sin(x w), cos(x w), sin(y w), cos(y w). A class token in front has none.
 */
export function sincos2d(
  { rows, columns, width, first }: Record<'rows' | 'columns' | 'width' | 'first', number>,
  temperature: number,
): Float32Array {
  const quarter = width / 4
  const out = new Float32Array((first + rows * columns) * width)
  for (let i = 0; i < rows * columns; i++)
    for (let k = 0; k < quarter; k++) {
      const omega = temperature ** (-k / (quarter - 1))
      const [x, y] = [(i % columns) * omega, Math.floor(i / columns) * omega]
      const at = (first + i) * width + k
      for (const [part, value] of [Math.sin(x), Math.cos(x), Math.sin(y), Math.cos(y)].entries())
        out[at + part * quarter] = value
    }
  return out
}
