import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from './support/program.ts';
import { binPath, checks, runCheck } from './verify.ts';

// node test/run.ts [STAGE…] [NAME]: runs the stages in order, all by default; of chaos, which alone is run whole, only the
// scenarios with NAME in their name.

interface Failure {
  readonly name: string;
  readonly message: string;
}

interface StageResult {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
}

/** The parts of Vitest's JSON report that are read. */
interface Report {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

const root = fileURLToPath(new URL('..', import.meta.url));
const stages = ['verify', 'unit', 'runtime', 'postgres', 'e2e', 'chaos'] as const;
type Stage = (typeof stages)[number];

const seed = process.env.SEED ?? String(randomInt(1, 1_000_000));
const started = performance.now();

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

async function verify(): Promise<StageResult> {
  const failures: Failure[] = [];
  let passed = 0;
  for (const check of checks) {
    const begun = performance.now();
    const { name, ok, output } = await runCheck(check);
    console.log(`  ${ok ? 'ok     ' : 'FAILED '}${name}  ${seconds(begun)}`);
    if (ok) passed += 1;
    else failures.push({ name: `verify › ${name}`, message: output });
  }
  return { passed, skipped: 0, failures };
}

async function runVitest(stage: Stage, environment: NodeJS.ProcessEnv, filter: string): Promise<StageResult> {
  const folder = mkdtempSync(join(tmpdir(), 'herdsman-test-'));
  const file = join(folder, 'report.json');
  const program = [
    'run',
    '--config',
    'test/vitest.config.ts',
    '--project',
    stage,
    '--reporter=./test/support/progress-reporter.ts',
  ];
  const report = ['--reporter=json', `--outputFile.json=${file}`];
  const named = filter === '' ? [] : ['-t', filter];
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn('vitest', [...program, ...report, ...named], {
      cwd: root,
      env: { ...process.env, ...environment, PATH: binPath() },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    child.once('error', reject);
    child.once('close', resolve);
  });
  const result = readReport(stage, file);
  rmSync(folder, { recursive: true, force: true });
  if (code === 0 || result.failures.length > 0) return result;
  const message = `vitest ended with ${code}, though no test failed: see above`;
  return { ...result, failures: [{ name: stage, message }] };
}

function readReport(stage: Stage, file: string): StageResult {
  let report: Report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return {
      passed: 0,
      skipped: 0,
      failures: [{ name: stage, message: 'the stage made no report: see above' }],
    };
  }
  const failures = report.testResults.flatMap(({ name, status, message, assertionResults }): Failure[] => {
    const path = name.replace(root, '');
    const failed = assertionResults.filter((result) => result.status === 'failed');
    // A file can fail as a whole: it cannot be loaded, or its set-up failed.
    if (failed.length === 0 && status === 'failed') return [{ name: path, message }];
    return failed.map((result) => ({
      name: `${path} › ${result.fullName}`,
      message: result.failureMessages?.join('\n') ?? '',
    }));
  });
  const passed = report.numPassedTests;
  if (passed === 0 && failures.length === 0) failures.push({ name: stage, message: 'the stage ran no test' });
  return { passed, skipped: report.numPendingTests + report.numTodoTests, failures };
}

/** The first words of a failure, on one line. */
function inShort(message: string): string {
  return message.trim().replaceAll(/\s+/g, ' ').slice(0, 2_000);
}

function parseArguments(words: readonly string[]): { chosen: readonly Stage[]; filter: string } {
  const isStage = (word: string): word is Stage => (stages as readonly string[]).includes(word);
  const chosen = words.filter(isStage);
  const filter = words.filter((word) => !isStage(word)).join(' ');
  return { chosen: chosen.length > 0 ? chosen : stages, filter };
}

async function main(): Promise<void> {
  const { chosen, filter } = parseArguments(process.argv.slice(2));
  const isWhole = chosen.length > 1 || chosen[0] !== 'chaos';
  const environment = { HERDSMAN_SEED: seed, HERDSMAN_CHAOS: isWhole ? 'part' : 'all' };
  if (chosen.includes('chaos') && isWhole) {
    console.log(`some scenarios of the fault matrices by seed ${seed} (again: SEED=${seed} make test)`);
  }
  if (chosen.some((stage) => ['postgres', 'e2e', 'chaos'].includes(stage))) {
    console.log('installs what is missing: Debian packages, and Kubernetes and Helm as Go modules');
    if (!existsSync(join(cacheFolder, 'bin/kube-apiserver')))
      console.log(
        `a first run compiles Kubernetes, about 9 minutes on 2 cores; it is kept in ${cacheFolder}`,
      );
  }
  const results: StageResult[] = [];
  for (const [index, stage] of chosen.entries()) {
    const begun = performance.now();
    console.log(`[${index + 1}/${chosen.length}] ${stage}  (${seconds(started)} since the start)`);
    const result = stage === 'verify' ? await verify() : await runVitest(stage, environment, filter);
    results.push(result);
    console.log(`  ${result.passed} passed, ${result.failures.length} failed in ${seconds(begun)}`);
  }
  const failures = results.flatMap((result) => result.failures);
  for (const { name, message } of failures) {
    const lines = message.trimEnd().split('\n');
    const shown = lines.slice(0, 40).map((line) => `    ${line}`);
    console.log(`\nFAILED ${name}\n${shown.join('\n')}${lines.length > 40 ? '\n    …' : ''}`);
  }
  const sum = (count: (result: StageResult) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  console.log(`\nIn ${seconds(started)}:`);
  // Once more, since who keeps only the end of this output would see where a test failed, but not why.
  for (const { name, message } of failures) console.log(`FAILED ${name}: ${inShort(message)}`);
  const passed = sum((result) => result.passed);
  const skipped = sum((result) => result.skipped);
  console.log(`${passed} passed, ${failures.length} failed, ${skipped} skipped`);
  if (failures.length > 0) process.exitCode = 1;
}

await main();
