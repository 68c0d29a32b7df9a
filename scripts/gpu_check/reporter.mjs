// A reporter of vitest: one JSON line for each test as it ends, so that a run that is cut says what it has tested.
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const said = (errors) => errors.map(({ message }) => String(message).slice(0, 500))

export default class LinesReporter {
  onTestCaseResult(test) {
    const { state, errors = [] } = test.result()
    const milliseconds = Math.round(test.diagnostic()?.duration ?? 0)
    print({
      test: test.fullName,
      state,
      milliseconds,
      ...(errors.length && { errors: said(errors) }),
    })
  }

  onTestModuleEnd(module) {
    const errors = module.errors()
    if (errors.length)
      print({ test: module.relativeModuleId, state: 'failed', errors: said(errors) })
  }
}
