// A reporter for vitest: what scripts/summary.mjs prints, as build/test-report.json.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export default class Reporter {
  #build = 'build'
  #projects = new Map()

  onInit(vitest) {
    this.#build = path.join(vitest.config.root, 'build')
  }

  /** Counts a project's time from its first file's turn to its last file's end. */
  #seen({ project }) {
    const now = performance.now()
    const { started } = this.#projects.get(project.name) ?? { started: now }
    this.#projects.set(project.name, { started, ended: now })
  }

  onTestModuleQueued(testModule) {
    this.#seen(testModule)
  }

  onTestModuleEnd(testModule) {
    this.#seen(testModule)
  }

  onTestRunEnd(testModules, unhandledErrors) {
    const tests = testModules.flatMap((testModule) =>
      [...testModule.children.allTests()].map((test) => ({
        project: testModule.project.name,
        name: test.fullName,
        state: test.result().state,
      })),
    )
    const projects = [...this.#projects].map(([name, { started, ended }]) => ({
      name,
      seconds: (ended - started) / 1000,
      tests: tests.filter(({ project }) => project === name).length,
    }))
    // A suite or file may fail without a test that does, in a hook or while it is loaded.
    const suites = testModules.flatMap((testModule) => [
      { name: testModule.relativeModuleId, errors: testModule.errors() },
      ...[...testModule.children.allSuites()].map((suite) => ({
        name: suite.fullName,
        errors: suite.errors(),
      })),
    ])
    const broken = [
      ...suites.flatMap(({ name, errors }) => errors.map(({ message }) => ({ name, message }))),
      ...unhandledErrors.map(({ message }) => ({ name: 'outside of tests', message })),
    ]
    mkdirSync(this.#build, { recursive: true })
    writeFileSync(
      path.join(this.#build, 'test-report.json'),
      JSON.stringify({ projects, tests, broken }),
    )
  }
}
