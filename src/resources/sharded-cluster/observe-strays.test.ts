import { expect, test } from 'vitest';
import type { ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import type { StandbyProgress } from '../../postgres/replica-stats.ts';
import { emptyMemory } from './cluster-memory.ts';
import type { ObservedShard, Stray } from './model.ts';
import { readStrays, type StrayInquiry } from './observe-strays.ts';
import type { ShardAccess } from './shard-access.ts';
import { type MemberSketch, sketchShard } from './test-support/sketch-shard.ts';

/** Where the standby is, in bytes of WAL, or `silent`; what the primary has begins at 1,000. */
type Standby = Partial<StandbyProgress> | 'silent';

/** Looks at a shard of two every 15 s, while the standby is where each look is told; answers what the last one says. */
async function look(positions: readonly Standby[], sketch: MemberSketch = stray, options = {}) {
  const memory = emptyMemory();
  const shard = withAddresses(sketchShard([{}, sketch], options));
  let found: Stray[] = [];
  for (const [turn, position] of positions.entries()) {
    const use = async ({ host }: ConnectOptions): Promise<unknown> => {
      if (host === 'member-0') return 1_000;
      if (position === 'silent') throw new UnreachableError('no answer');
      return { startedMs: 1, waitsForWal: true, ...position };
    };
    const access = { asOperator: (_: string, host: string) => ({ host }) } as unknown as ShardAccess;
    const connections = { use } as unknown as Connections;
    const inquiry: StrayInquiry = { connections, access, memory, nowMs: turn * 15_000 };
    found = await readStrays(inquiry, shard, shard.group);
  }
  return found;
}

const stray: MemberSketch = { facts: { state: 'running' } };
const still = { replayed: 2_000, received: 2_000 };

function withAddresses(shard: ObservedShard): ObservedShard {
  const members = shard.members.map((member) =>
    member.pod === undefined
      ? member
      : { ...member, pod: { ...member.pod, status: { podIP: `member-${member.ordinal}` } } },
  );
  return { ...shard, members };
}

test('a standby that streams is none', async () => {
  expect(await look([still, still], {})).toEqual([]);
});

test('one that stands still is one, and for how long', async () => {
  expect(await look([still, still, still])).toEqual([{ name: 'shop-s0-1', forMs: 30_000, isLost: false }]);
});

test('one whose WAL is gone is lost, after a while', async () => {
  const behind = { replayed: 500, received: 900 };
  expect(await look([behind, behind])).toMatchObject([{ isLost: false }]);
  expect(await look([behind, behind, behind])).toMatchObject([{ isLost: true }]);
});

test('one that comes on by what it has itself, or whose replay waits for something else, is left its time', async () => {
  const next = { replayed: 2_500, received: 2_500 };
  expect(await look([still, still, still, next])).toMatchObject([{ forMs: 0 }]);
  expect(await look([still, still, { ...still, waitsForWal: false }])).toMatchObject([{ forMs: 0 }]);
});

test('one that was restarted is left its time again', async () => {
  expect(await look([still, still, { ...still, startedMs: 2 }])).toMatchObject([{ forMs: 0 }]);
});

test('one that does not answer stays what it was, and is not given up', async () => {
  const behind = { replayed: 500, received: 900 };
  expect(await look([behind, behind, 'silent'])).toEqual([
    { name: 'shop-s0-1', forMs: 30_000, isLost: false },
  ]);
});

test.each<[string, MemberSketch, object]>([
  ['while nobody leads', stray, { leader: 9 }],
  ['while Patroni is paused', stray, { paused: true }],
  ['that is not ready', { ...stray, ready: false }, {}],
  ['that starts', { facts: { state: 'starting' } }, {}],
  ['while no member says how the others are', stray, { group: 'unknown' }],
])('a standby %s is none', async (_, sketch, options) => {
  expect(await look([still, still, still], sketch, options)).toEqual([]);
});
