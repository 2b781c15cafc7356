import type { Reporter, TestModule, TestSpecification } from 'vitest/node';

/** Prints one line for each test file as it ends, so that a long stage shows where it is. */
export default class ProgressReporter implements Reporter {
  #total = 0;
  #done = 0;

  onTestRunStart(specifications: readonly TestSpecification[]): void {
    this.#total = specifications.length;
  }

  onTestModuleEnd(module: TestModule): void {
    this.#done += 1;
    const tests = [...module.children.allTests()];
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    const word = module.ok() ? 'ok' : 'FAILED';
    const counts = passed === tests.length ? `${passed} passed` : `${passed} of ${tests.length} passed`;
    const seconds = (module.diagnostic().duration / 1000).toFixed(1);
    const place = `${this.#done}/${this.#total}`;
    console.log(`  ${word.padEnd(7)}${place.padEnd(8)}${module.relativeModuleId}  ${counts}, ${seconds} s`);
  }
}
