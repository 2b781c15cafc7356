import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** One check of the sources that runs nothing of them. */
export interface Check {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

/** What a check found: `output` is what to read when it failed. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly output: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));

/** All checks; each counts as one test in `make test`. */
export const checks: readonly Check[] = [
  { name: 'format and lint', command: ['biome', 'ci', '--colors=off', '.'] },
  { name: 'types', command: ['tsc', '--noEmit'] },
  { name: 'generated files', command: ['node', 'src/api/generate.ts', '--check'] },
  { name: 'unused code', command: ['knip', '--config', 'test/knip.json', '--no-progress'] },
];

/** Runs one check. */
export function runCheck({ name, command: [program, ...arguments_] }: Check): Promise<CheckResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, arguments_, { cwd: root, env: { ...process.env, PATH: binPath() } });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ name, ok: code === 0, output }));
  });
}

/** PATH with the programs of our packages before those of the machine. */
export function binPath(): string {
  return `${root}node_modules/.bin:${process.env.PATH ?? ''}`;
}

async function main(): Promise<void> {
  for (const check of checks) {
    const { name, ok, output } = await runCheck(check);
    console.log(`${ok ? 'ok' : 'FAILED'}  ${name}`);
    if (ok) continue;
    console.log(output);
    process.exitCode = 1;
  }
}

if (import.meta.main) await main();
