// Reads vitest's JSON report, lists what was skipped, and ends with `N passed, N failed`.
import { readFileSync } from 'node:fs'

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const tests = report.testResults.flatMap((file) => file.assertionResults)
const skipped = tests.filter((test) => test.status === 'pending' || test.status === 'skipped')
for (const { fullName } of skipped) console.log(`skipped: ${fullName}`)
// A file that did not even load has no tests, and still is a failure.
const broken = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.length === 0,
)
for (const { name, message } of broken) console.log(`failed to load: ${name}\n${message}`)
const failed = report.numFailedTests + broken.length
console.log(
  `${report.numPassedTests} passed, ${failed} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`,
)
process.exitCode = failed > 0 || report.numPassedTests === 0 ? 1 : 0
