import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { cacheFolder } from './support/program.ts';

const minute = 60_000;
/** Vitest alone would leave one processor free: half of a small machine. */
const maxWorkers = availableParallelism();
/** `make test` takes a part of the matrices, and leaves the long scenarios of read replicas, poolers and shards to `make chaos`. */
const leftToChaos =
  process.env.HERDSMAN_CHAOS === 'part' ? ['test/chaos/{replica,pooler,shard}-*.test.ts'] : [];

/** One project per kind of test: each needs more of the world than the one before. */
export default defineConfig({
  // How long files took, by which the longest begin first: beside the builds, since each CI run has a new checkout.
  cacheDir: join(cacheFolder, 'tests'),
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/support/**/*.test.ts', 'deploy/**/*.test.ts'],
          // Properties take seconds while the machine is busy.
          testTimeout: minute,
          // They share no state: a process for each of their many files is most of the time.
          isolate: false,
          maxWorkers,
        },
      },
      { test: { name: 'runtime', include: ['test/runtime/**/*.test.ts'], testTimeout: minute } },
      {
        test: {
          name: 'postgres',
          include: ['test/postgres/**/*.test.ts'],
          globalSetup: ['test/support/postgres-global-setup.ts'],
          // They wait for servers a third of their time.
          maxWorkers: maxWorkers + 1,
          testTimeout: 3 * minute,
          hookTimeout: minute,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/support/cluster-global-setup.ts'],
          testTimeout: 10 * minute,
          hookTimeout: 10 * minute,
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          exclude: leftToChaos,
          globalSetup: ['test/support/cluster-global-setup.ts'],
          testTimeout: 60 * minute,
          hookTimeout: 10 * minute,
          fileParallelism: false,
        },
      },
    ],
  },
});
