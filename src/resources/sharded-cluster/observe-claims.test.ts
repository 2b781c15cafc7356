import { expect, it } from 'vitest';
import type { ClusterMemory } from './cluster-memory.ts';
import type { ShardMapObject } from './model.ts';
import { initializeAnnotation } from './names.ts';
import { type ClaimInquiry, findAbandonedClaim } from './observe-claims.ts';
import { settled } from './test-support/advance.ts';
import { everyStrategy } from './test-support/scenes.ts';
import { emptyWorld, shardedCluster, shardOf } from './test-support/world.ts';

const madeAt = '2026-01-02T00:00:00Z';
const [younger, older] = ['2026-01-03T00:00:00Z', '2026-01-01T00:00:00Z'];
const quiet = { states: ['stopped', 'stopped'], leader: undefined };

interface Scene {
  readonly claim: string | undefined;
  readonly volumes?: readonly string[];
  readonly forMs?: number;
  readonly states?: readonly string[];
  readonly leader?: string | undefined;
  readonly ownsBuckets?: boolean;
}

async function find({ claim, volumes = [], forMs = 20_000, states, leader, ownsBuckets = false }: Scene) {
  const world = await settled(emptyWorld(shardedCluster(everyStrategy)));
  const shard = shardOf(world, 's1');
  if (shard.group.state !== 'present' || world.observed.map.state !== 'present') throw new Error('no group');
  const [member] = shard.group.value.members.values();
  if (member === undefined) throw new Error('no member');
  const members = new Map(
    (states ?? quiet.states).map((state, place) => [`m${place}`, { ...member, state }]),
  );
  const { value } = world.observed.map;
  const groups = value.spec.groups.map((group) => ({
    ...group,
    buckets: group.buckets.map((bucket) => ({ ...bucket, shard: 's0' })),
  }));
  const map: ShardMapObject = ownsBuckets ? value : { ...value, spec: { ...value.spec, groups } };
  const memory: Pick<ClusterMemory, 'claims'> = { claims: new Map([['s1', 0]]) };
  const annotations = claim === undefined ? {} : { [initializeAnnotation]: claim };
  const found = { metadata: { name: 'shop-s1-config', creationTimestamp: madeAt, annotations } };
  const client = {
    read: async () => ({ state: 'present', value: found }),
  } as unknown as ClaimInquiry['client'];
  const claims = volumes.map((creationTimestamp, place) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: `data-${place}`, creationTimestamp },
  }));
  const group = { state: 'present', value: { ...shard.group.value, leader, members } } as const;
  const inquiry = { client, memory, nowMs: forMs, signal: new AbortController().signal };
  return findAbandonedClaim(inquiry, world.cluster, { ...shard, claims }, group, map);
}

it.each<[string, Scene, string | undefined]>([
  ['empty', { claim: '', volumes: [older] }, ''],
  ['empty, and just now', { claim: '', forMs: 19_999 }, undefined],
  ['empty, and a member leads', { claim: '', leader: 'm0' }, undefined],
  ['empty, and a member is at it', { claim: '', states: ['stopped', 'running'] }, undefined],
  ['gone', { claim: undefined, volumes: [younger] }, undefined],
  ['of data that are gone', { claim: '7', volumes: [younger, younger] }, '7'],
  ['of data that one volume may have', { claim: '7', volumes: [younger, older] }, undefined],
  ['of a shard without volumes', { claim: '7' }, undefined],
  ['of a shard that owns buckets', { claim: '7', volumes: [younger], ownsBuckets: true }, undefined],
])('a claim that is %s', async (_, scene, abandoned) => {
  expect(await find(scene)).toBe(abandoned);
});
