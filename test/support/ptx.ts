// What a kernel does before it waits for the kernel before, from its PTX.

interface Statement {
  labels: string[]
  text: string
}

/** The statements of each kernel of a PTX file, by the kernel's name. */
function entries(ptx: string): Map<string, Statement[]> {
  const text = ptx.replace(/\/\/.*$/gm, '')
  return new Map(
    text
      .split(/\.entry\s+/)
      .slice(1)
      .map((part) => {
        const end = part.search(/\n\}/)
        const body = part.slice(part.indexOf('{'), end < 0 ? undefined : end)
        return [/^[\w$]+/.exec(part)![0], statements(body)]
      }),
  )
}

function statements(body: string): Statement[] {
  return body
    .split(/[;{}]/)
    .map((piece) => {
      const labels: string[] = []
      let text = piece.trim()
      for (let label = /^([$\w]+):\s*/.exec(text); label; label = /^([$\w]+):\s*/.exec(text)) {
        labels.push(label[1]!)
        text = text.slice(label[0].length)
      }
      return { labels, text }
    })
    .filter(({ labels, text }) => labels.length > 0 || (text && !text.startsWith('.')))
}

// Parameters, a block's own memory, barriers that nobody waits at yet; of global memory weights and what the host writes,
// which are read through the cache that is not coherent, guesses (load_guess), and prefetches.
const harmless =
  /^(ld\.param|ld\.const|ld\.local|st\.local|ld\.shared|st\.shared|ld\.volatile\.shared|ld\.global\.nc\.|ld\.relaxed\.gpu\.global\.|mbarrier\.init|prefetch|cp\.async\.bulk\.prefetch)/
const memory =
  /^(ld|ldu|st|atom|red|cp|multimem|mbarrier|wgmma|stmatrix|ldmatrix|tensormap|call|brx)\b/

/**
 * What is wrong before griddepcontrol.wait, one line each: accesses of memory that other kernels may touch, and ways to
 * the end of a kernel that do not come by a wait.
 */
export function earlyAccesses(ptx: string): string[] {
  const found: string[] = []
  for (const [name, code] of entries(ptx)) {
    const labels = new Map(code.flatMap((one, i) => one.labels.map((label) => [label, i])))
    const seen = new Set<number>()
    const open = [0]
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (seen.has(at)) continue
      seen.add(at)
      const guarded = code[at]?.text.startsWith('@') ?? false
      const text = code[at]?.text.replace(/^@!?%?\w+\s+/, '') ?? 'ret'
      if (text.startsWith('griddepcontrol.wait') || text.startsWith('trap')) continue
      const branch = /^bra(?:\.uni)?\s+([$\w]+)/.exec(text)
      if (branch) open.push(labels.get(branch[1]!) ?? code.length)
      if (/^(ret|exit)\b/.test(text)) found.push(`${name}: ends without griddepcontrol.wait`)
      else if (memory.test(text) && !harmless.test(text)) found.push(`${name}: ${text}`)
      if ((!branch && !/^(ret|exit)\b/.test(text)) || guarded) open.push(at + 1)
    }
  }
  return found
}
