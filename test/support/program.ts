import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { root } from './cluster.ts';

/** Where downloads and builds are kept: for all who are root, else for oneself. */
export const cacheFolder =
  process.env.HERDSMAN_CACHE ??
  (process.getuid?.() === 0 ? '/var/cache/herdsman' : join(homedir(), '.cache/herdsman'));

/** A PATH on which programs that the local cluster compiled (kubectl, helm) come before those of the machine. */
export const toolPath = [join(cacheFolder, 'bin'), process.env.PATH ?? ''].join(delimiter);

/** How a program is run. */
export interface ProgramOptions {
  readonly environment?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** Gets each line as it is printed, on either stream. */
  readonly onLine?: ((line: string) => void) | undefined;
}

/** Runs a program in the checkout and returns what it prints; an error has the end of what it complained. */
export function run(
  program: string,
  arguments_: readonly string[],
  { environment = {}, input, onLine }: ProgramOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...arguments_], {
      cwd: root,
      env: { ...process.env, PATH: toolPath, ...environment },
    });
    let output = '';
    let complaints = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      tell(text, onLine);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
      tell(text, onLine);
    });
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error(`${program} is not installed, and is needed here`) : error),
    );
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else
        reject(
          new Error(
            `${program} ${arguments_.join(' ')}: ended with ${code ?? signal}\n${complaints.slice(-4000)}`,
          ),
        );
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

function tell(text: string, onLine: ProgramOptions['onLine']): void {
  if (onLine === undefined) return;
  for (const line of text.split('\n')) if (line.trim() !== '') onLine(line.trim());
}
