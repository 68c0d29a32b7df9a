import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'

describe.skipIf(process.platform !== 'linux')('moe-native as a Unix command', () => {
  const shell = (line: string) =>
    spawnSync('bash', ['-c', line], {
      encoding: 'utf8',
      env: { ...process.env, MOE: `${process.execPath} ${root}/dist/cli/main.js` },
    })

  it.each([
    ['generate', '$MOE generate -n 200 --ignore-eos | head -n 1'],
    ['forward', '$MOE forward --ids 1,2,3,4,5,6,7,8 --logits all --routing --json | head -c 20'],
    ['help', '$MOE --help | true'],
  ])('%s ends in silence when its reader leaves', (_, line) => {
    const { stderr } = shell(line)
    expect(stderr.replace(/^\d+ prompt tokens.*\n/m, '')).toBe('')
  })

  it('says that standard output cannot be written', () => {
    if (!existsSync('/dev/full')) return
    const { status, stderr } = shell('$MOE info > /dev/full')
    expect([status, stderr]).toEqual([
      1,
      'moe-native: standard output must be writable, got ENOSPC\n',
    ])
  })

  it.each<[NodeJS.Signals, number, string, string[]]>([
    ['SIGINT', 130, 'interrupted', []],
    ['SIGTERM', 143, 'ended by SIGTERM', ['--json']],
    ['SIGHUP', 129, 'ended by SIGHUP', []],
  ])('%s ends with %i', async (name, expected, said, flags) => {
    const ids = Array.from({ length: 1500 }, (_, i) => i).join()
    const args = ['generate', '--ids', ids, '-n', '2000', '--ignore-eos', '--max-tokens', '4096']
    const child = spawn(process.execPath, [`${root}/dist/cli/main.js`, ...args, ...flags])
    const out = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text) => (out[name] += text))
    // With --json nothing is seen of the work, but the addon in the list of mapped files.
    const working = () =>
      flags.length === 0
        ? out.stdout !== ''
        : readFileSync(`/proc/${child.pid}/maps`, 'utf8').includes('moe_native.node')
    while (!working()) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill(name)
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect([code, out.stderr]).toEqual([expected, `moe-native: ${said}\n`])
    if (flags.length > 0) expect(out.stdout).toBe('')
  })

  it('a signal ends a command that waits for a pipe nobody writes to', async () => {
    const pipe = path.join(temporaryFolder(), 'pipe')
    execFileSync('mkfifo', [pipe])
    const args = [`${root}/dist/cli/main.js`, 'eval', '--text', pipe]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    // Its handler is there: the signal is in the mask of those that the process catches.
    const catches = () => {
      const [, mask] = /SigCgt:\s*(\w+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))!
      return (BigInt(`0x${mask}`) & (1n << 0n)) !== 0n // SIGHUP, which Node itself does not
    }
    while (!catches()) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGHUP')
    expect(
      await new Promise((resolve) => child.once('exit', (...how) => resolve(how))),
    ).not.toEqual([0, null])
  })
})
