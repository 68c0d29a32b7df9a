import { spawn } from 'node:child_process'

/** Ends a process and all that it has started, at once. */
function end(child) {
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {} // it is over
}

/**
 * Runs a command for at most `seconds`, in a process group of its own: what it has started, a sanitizer's workers too,
 * is gone when this returns. `onLine` gets each whole line of standard output as it comes.
 * Returns its exit status, or why there is none, and the end of what it wrote.
 */
export function limited(command, args, { seconds, env, onLine = () => {}, keep = 1 << 20 }) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let [log, open, why] = ['', '', undefined]
    const write = (text) => {
      log = (log + text).slice(-keep)
    }
    child.stdout.setEncoding('utf8').on('data', (text) => {
      write(text)
      const lines = (open + text).split('\n')
      open = lines.pop()
      lines.forEach(onLine)
    })
    child.stderr.setEncoding('utf8').on('data', write)
    const timer = setTimeout(() => {
      why = 'cut'
      end(child)
    }, 1000 * seconds)
    const interrupted = () => {
      end(child)
      process.exit(1)
    }
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupted)
    const done = (status) => {
      clearTimeout(timer)
      end(child)
      for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, interrupted)
      resolve({ status: why ?? status, log })
    }
    child.on('error', ({ code }) => done(code))
    child.on('exit', (status, signal) => {
      // What it has started may hold its pipes.
      end(child)
      child.on('close', () => done(status ?? signal))
    })
  })
}
