import type { TestProject } from 'vitest/node';
import { findRootfs, startPostgres } from './postgres-server.ts';

/** Where the server is that all tests of the project share. */
export interface SharedPostgres {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    postgres: SharedPostgres;
  }
}

/** Starts one server for the whole project; tests make databases of their own in it: `inject('postgres')`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Workers inherit this, so that none of them looks whether the image has to be built.
  process.env.HERDSMAN_POSTGRES_ROOTFS = await findRootfs();
  const server = await startPostgres();
  const { host, port, user, password } = server;
  project.provide('postgres', { host, port, user, password });
  return server.stop;
}
