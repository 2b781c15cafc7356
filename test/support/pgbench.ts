import { type ChildProcess, spawn } from 'node:child_process';
import type pg from 'pg';
import { findRootfs } from './postgres-server.ts';

/** A pgbench at work. */
export interface Pgbench {
  /** What it printed when it ended by itself; throws when it failed. */
  readonly output: Promise<string>;
  stop(): Promise<void>;
}

/** Runs pgbench of the PostgreSQL image from this machine. */
export async function startPgbench(config: pg.ClientConfig, words: readonly string[]): Promise<Pgbench> {
  const rootfs = await findRootfs();
  const where = [
    '-h',
    `${config.host}`,
    '-p',
    `${config.port}`,
    '-U',
    `${config.user}`,
    `${config.database}`,
  ];
  const command = ['pgbench', ...words, ...where];
  const [file = '', ...arguments_] = rootfs === '/' ? command : ['chroot', rootfs, ...command];
  const child = spawn(file, arguments_, {
    env: {
      PGPASSWORD: `${config.password}`,
      PGSSLMODE: 'require',
      PATH: '/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = outputOf(child);
  // Somebody who stops it does not ask for its output.
  output.catch(() => undefined);
  return {
    output,
    async stop() {
      child.kill();
      await output.catch(() => undefined);
    },
  };
}

/** Transactions a second, as pgbench says at its end. */
export function tpsOf(output: string): number {
  return Number(/^tps = ([0-9.]+)/m.exec(output)?.[1] ?? 0);
}

function outputOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`pgbench ended with ${code}: ${output.slice(-2000)}`));
    });
  });
}
