import { expect, it } from 'vitest';
import { PostgresError } from '../../postgres/postgres-error.ts';
import type { Statement } from '../../postgres/statement.ts';
import type { ReconcileContext } from '../../runtime/controller.ts';
import { shardedCluster } from '../sharded-cluster/test-support/world.ts';
import { createWork, type ImportWorkDependencies } from './work.ts';

const bootstrap = { import: { host: 'old', database: 'app', credentials: 'old-login' } };
const context = { signal: new AbortController().signal } as ReconcileContext;

/** What is left at a fenced server whose statements fail that begin so, and those that were carried out there. */
async function leave(refused: readonly string[]) {
  const ran: string[] = [];
  const query = async ({ text }: Statement): Promise<object[]> => {
    if (refused.some((start) => text.startsWith(start)))
      throw new PostgresError({ sqlstate: '42501', message: `no right to ${text.slice(0, 8)}` });
    ran.push(text);
    if (text.includes('AS version')) return [{ version: 170_000 }];
    return text.includes('AS facts') ? [{ facts: { isFenced: true, slot: null } }] : [];
  };
  const login = { username: btoa('reader'), password: btoa('secret') };
  const work = createWork({
    client: { read: async () => ({ state: 'present', value: { data: login } }) },
    connections: { use: async (_: object, act: (connection: object) => unknown) => act({ query }) },
    clock: { monotonicMs: () => 0, now: () => new Date(0) },
    findPrimaries: async () => new Map(),
  } as unknown as ImportWorkDependencies);
  const left = await work.leave(shardedCluster({ bootstrap }), context);
  const did = (start: string) => ran.some((text) => text.startsWith(start));
  return { left, isUnfenced: did('DROP SCHEMA'), isReleased: did('DROP PUBLICATION') };
}

it.each([
  ['all, when it refuses nothing', [], { left: undefined, isUnfenced: true, isReleased: true }],
  [
    'its slot and publication, when it refuses to take writes again',
    ['DROP SCHEMA'],
    { left: 'no right to DROP SCH', isUnfenced: false, isReleased: true },
  ],
  [
    'its fence, when it refuses to let the publication go',
    ['DROP PUBLICATION'],
    { left: 'no right to DROP PUB', isUnfenced: true, isReleased: false },
  ],
  [
    'nothing, when it refuses both, and both are told',
    ['DROP'],
    { left: 'no right to DROP SCH; no right to DROP PUB', isUnfenced: false, isReleased: false },
  ],
])('an import that is given up without its shard takes from the server %s', async (_, refused, expected) => {
  expect(await leave(refused)).toEqual(expected);
});
