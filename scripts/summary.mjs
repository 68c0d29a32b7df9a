// Reads what scripts/reporter.mjs wrote: the time of each test project, what was skipped and what broke, and at the end
// `N passed, N failed`.
import { readFileSync } from 'node:fs'

const { projects, tests, broken } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const of = (state) => tests.filter((test) => test.state === state)
for (const { project, name } of of('skipped')) console.log(`skipped in ${project}: ${name}`)
for (const { name, message } of broken) console.log(`failed: ${name}\n${message}`)
for (const { name, seconds, tests } of projects)
  console.log(`project ${name}: ${seconds.toFixed(0)} s, ${tests} tests`)
const [passed, skipped] = [of('passed').length, of('skipped').length]
// A test that never ended is no success.
const failed = tests.length - passed - skipped + broken.length
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
