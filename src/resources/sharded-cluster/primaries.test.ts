import { describe, expect, it } from 'vitest';
import { createFindPrimaries, createFindStandbys, type PrimariesDependencies } from './primaries.ts';
import { shardedCluster } from './test-support/world.ts';

const cluster = shardedCluster();
const { signal } = new AbortController();

function pod(name: string, shard: string, role: string, status: 'True' | 'False', podIP?: string) {
  const labels = { 'herdsman.dev/shard': shard, 'herdsman.dev/role': role };
  return { metadata: { name, labels }, status: { podIP, conditions: [{ type: 'Ready', status }] } };
}

const pods = [
  pod('shop-s0-0', 's0', 'replica', 'True', '10.0.0.1'),
  pod('shop-s0-1', 's0', 'primary', 'True', '10.0.0.2'),
  pod('shop-s0-2', 's0', 'replica', 'False', '10.0.0.3'),
  pod('shop-s1-0', 's1', 'primary', 'False', '10.0.1.1'),
  pod('shop-s1-1', 's1', 'replica', 'True'),
];

function dependencies(keys: readonly string[]): PrimariesDependencies {
  const data = Object.fromEntries(keys.map((key) => [key, Buffer.from(key).toString('base64')]));
  return {
    client: { read: async () => ({ state: 'present', value: { metadata: { name: 'tls' }, data } }) },
    sources: { pods: { cache: { byIndex: () => pods } } },
    monotonicMs: () => 0,
  } as unknown as PrimariesDependencies;
}

describe('members that the operator connects to', () => {
  const known = dependencies(['ca.crt', 'tls.crt', 'tls.key']);

  it('are ready, and have the role that Patroni gives them', async () => {
    const primaries = await createFindPrimaries(known)(cluster, signal);
    expect([...primaries].map(([shard, { host }]) => [shard, host])).toEqual([['s0', '10.0.0.2']]);
    const standbys = await createFindStandbys(known)(cluster, signal);
    expect(standbys).toMatchObject([
      {
        shard: 's0',
        member: 'shop-s0-0',
        options: { host: '10.0.0.1', database: cluster.spec.postgres.database, user: 'herdsman' },
      },
    ]);
  });

  it('are none before the operator has a certificate', async () => {
    const unknown = dependencies([]);
    expect(await createFindPrimaries(unknown)(cluster, signal)).toEqual(new Map());
    expect(await createFindStandbys(unknown)(cluster, signal)).toEqual([]);
  });
});
