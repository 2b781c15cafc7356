import { expect, test } from 'vitest';
import type { SlotStats } from '../../../postgres/stats.ts';
import type { ShardCatalog } from '../../../sharding/shard-catalog.ts';
import { farewellMs } from '../forgotten.ts';
import type { Observed } from '../model.ts';
import { emptyCatalog, newDatabase } from '../test-support/shard-content.ts';
import { absentShard, emptyWorld, observing, shardedCluster } from '../test-support/world.ts';
import { choice, decideEmptiness, type EmptinessDecision, removal } from './removal.ts';

/** A shard `s1` that owns nothing, with these slots on its primary. */
function decide(
  slots: readonly SlotStats[],
  tablesWithRows: readonly string[] = [],
  {
    moving = [],
    movingShards = [],
  }: Partial<Pick<ShardCatalog, 'moving'> & Pick<Observed, 'movingShards'>> = {},
): EmptinessDecision {
  const shard = {
    ...absentShard(1),
    claims: [
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'data-shop-s1-0' },
        spec: { volumeName: 'volume' },
        status: { phase: 'Bound' },
      },
    ],
    database: {
      state: 'present' as const,
      value: {
        ...newDatabase,
        isSetUp: true,
        catalog: { ...emptyCatalog, moving },
        tablesWithRows,
        stats: { ...newDatabase.stats, slots },
      },
    },
    forgottenMs: farewellMs,
  };
  const told = { ...newDatabase, catalog: emptyCatalog };
  const stays = { ...absentShard(0), database: { state: 'present' as const, value: told } };
  const map = { apiVersion: 'herdsman.dev/v1alpha1', kind: 'ShardMap', metadata: { name: 'shop' } };
  const spec = { cluster: 'shop', epoch: 1, groups: [] };
  const world = observing(emptyWorld(shardedCluster()), {
    map: { state: 'present', value: { ...map, spec } },
    shards: [stays, shard],
    movingShards,
  });
  return decideEmptiness(world, shard);
}

function slot(name: string, active: boolean): SlotStats {
  return { name, active, retainedBytes: 0, walStatus: 'reserved' };
}

test.each([
  ['of a member of its own', slot('shop_s1_1', true), 'empty'],
  ['that a read replica left', slot('readers_s1_replicas_0', false), 'empty'],
  ['of a read replica that follows', slot('readers_s1_replicas_0', true), 'draining'],
  ['of a read replica of another shard', slot('readers_s11_replicas_0', false), 'refused'],
  ['of a user', slot('warehouse', false), 'refused'],
  ['of a move', slot('hm_1a2b3c4d_1', true), 'draining'],
])('a shard with the slot %s is %s', (_, found, kind) => {
  expect(decide([found])).toMatchObject({ kind });
});

test.each([
  ['a table of a user', 'notes', 'refused'],
  ['what a ShardMove keeps for a while', 'hm_1a2b3c4d_old_0', 'draining'],
])('a shard with rows in %s', (_, table, kind) => {
  expect(decide([], [table])).toMatchObject({ kind });
});

test.each([
  ['that the shard knows', { moving: [{ group: 'orders', bucket: 0 }] }, [], 'draining'],
  [
    'that has copied rows already',
    { moving: [{ group: 'orders', bucket: 0 }] },
    ['orders_b0000'],
    'draining',
  ],
  ['that has made nothing there yet', { movingShards: ['s0', 's1'] }, [], 'draining'],
  ['between others', { movingShards: ['s0', 's2'] }, [], 'empty'],
])('a shard stays for a ShardMove %s', (_, moves, tables, kind) => {
  expect(decide([], tables, moves)).toMatchObject({ kind });
});

test('of several shards the one goes that is empty, whatever its number', () => {
  const status = { desired: 1, names: ['s0'], current: 3, ready: 3, summary: '', items: [] };
  const cluster = shardedCluster({}, { shards: status });
  const map = { apiVersion: 'herdsman.dev/v1alpha1', kind: 'ShardMap', metadata: { name: 'shop' } };
  const spec = { cluster: 'shop', epoch: 1, groups: [] };
  const claim = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'data-shop-s2-0' } };
  const bound = { ...claim, spec: { volumeName: 'volume' }, status: { phase: 'Bound' } };
  const world = observing(emptyWorld(cluster), {
    map: { state: 'present', value: { ...map, spec } },
    shards: [absentShard(0), absentShard(1), { ...absentShard(2), claims: [bound] }],
  });
  expect(removal(world)).toMatchObject({ reason: 'RemovingShard', message: expect.stringContaining('s1') });
});

test('why there are more shards than were asked for is told', () => {
  const obstacle = { kind: 'fail' as const, reason: 'ShardsNeeded', message: 's1 is named' };
  expect(choice({ ...emptyWorld(shardedCluster()), obstacle })).toEqual(obstacle);
});
