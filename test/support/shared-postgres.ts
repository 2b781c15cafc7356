import { inject } from 'vitest';

/** Where a server is that tests share. */
export interface SharedPostgres {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    /** One for each worker. */
    postgres: readonly SharedPostgres[];
  }
}

/** The server of this worker, in which tests make databases of their own; no other worker's tests use it. */
export function sharedPostgres(): SharedPostgres {
  const worker = process.env.VITEST_POOL_ID ?? '1';
  const server = inject('postgres')[Number(worker) - 1];
  if (server === undefined) throw new Error(`there is no server for worker ${worker}`);
  return server;
}
