import type { TestProject } from 'vitest/node';
import { findRootfs, startPostgres } from './postgres-server.ts';

/** Starts one server for each worker, since some tests end every session of their server: `sharedPostgres()`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Workers inherit this, so that none of them looks whether the image has to be built.
  process.env.HERDSMAN_POSTGRES_ROOTFS = await findRootfs();
  const workers = Array.from({ length: Number(project.config.maxWorkers) });
  const servers = await Promise.all(workers.map(() => startPostgres()));
  project.provide(
    'postgres',
    servers.map(({ host, port, user, password }) => ({ host, port, user, password })),
  );
  return async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
}
