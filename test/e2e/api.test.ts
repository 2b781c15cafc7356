import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { customResourceDefinition } from '../../src/api/crd.ts';
import { kinds } from '../../src/api/kinds.ts';
import { version } from '../../src/api/v1alpha1/common.ts';
import { shardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { apply, kubectl, refusal } from '../support/kubectl.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { badReplicaChanges, badReplicaSets } from './api/bad-replica-sets.ts';
import { badSpecs } from './api/bad-specs.ts';
import { badTables } from './api/bad-tables.ts';
import { badChanges, badLayoutChanges, badNames, goodLayoutChanges } from './api/changes.ts';
import { goodSpecs } from './api/good-specs.ts';
import { minimal, regions, type Spec } from './api/specs.ts';

/** The same schemas in a group of their own: what the tests write into a status is theirs, for no operator looks there. */
const group = 'rules.herdsman.dev';
const resource = `shardedclusters.${group}`;
let namespace = '';
let made = 0;

function definitions(): object[] {
  return kinds.map((kind) => {
    const { metadata, spec, ...type } = customResourceDefinition(kind);
    const { categories: _categories, shortNames: _shortNames, ...names } = spec.names;
    return {
      ...type,
      metadata: { ...metadata, name: `${kind.plural}.${group}` },
      spec: { ...spec, group, names },
    };
  });
}

function shardedCluster(spec: Spec, name = 'shop'): object {
  return { apiVersion: `${group}/${version}`, kind: 'ShardedCluster', metadata: { name, namespace }, spec };
}

function shardMap(spec: Spec, name = 'shop'): object {
  return { apiVersion: `${group}/${version}`, kind: 'ShardMap', metadata: { name, namespace }, spec };
}

function readReplicaSet(spec: object, name = 'readers'): object {
  return { apiVersion: `${group}/${version}`, kind: 'ReadReplicaSet', metadata: { name, namespace }, spec };
}

function setStatus(name: string, status: object): Promise<string> {
  return kubectl([
    ...['patch', resource, name, '--namespace', namespace, '--subresource=status', '--type=merge'],
    ...['--patch', JSON.stringify({ status })],
  ]);
}

/** Makes a ShardedCluster whose table `orders` is laid out, and returns its name. */
async function laidOut(spec: Spec): Promise<string> {
  made += 1;
  const name = `laid-${made}`;
  await apply(shardedCluster(spec, name));
  await setStatus(name, { laidOutTables: ['orders'] });
  return name;
}

beforeAll(async () => {
  namespace = await createNamespace('api');
  await apply(definitions());
  await kubectl([
    ...['wait', '--for=condition=Established', '--timeout=60s', 'crd'],
    ...kinds.map((kind) => `${kind.plural}.${group}`),
  ]);
  // Discovery may lag behind the condition; kubectl explains a kind only once it is served.
  await vi.waitFor(() => kubectl(['get', resource, '--namespace', namespace]), 30_000);
});

afterAll(async () => {
  await kubectl(['delete', 'crd', '--ignore-not-found', ...kinds.map((kind) => `${kind.plural}.${group}`)]);
  await deleteNamespace(namespace);
});

describe.concurrent('a ShardedCluster', () => {
  test.each(goodSpecs)('is accepted with $what', async ({ spec }) => {
    const stored = load(await apply(shardedCluster(spec), { dryRun: true })) as { spec: unknown };
    expect(shardedClusterSpec.parse(stored.spec)).toEqual(shardedClusterSpec.parse(spec));
  });

  test.each([...badSpecs, ...badTables])('is refused with $what', async ({ spec, says }) => {
    expect(await refusal(shardedCluster(spec))).toContain(says);
  });

  test.each(badNames)('is refused with the name $name', async ({ name, says }) => {
    expect(await refusal(shardedCluster(minimal, name))).toContain(says);
  });

  test.each(badChanges)('does not change to $what', async ({ before, spec, says }) => {
    made += 1;
    const name = `changing-${made}`;
    await apply(shardedCluster(before, name));
    expect(await refusal(shardedCluster(spec, name))).toContain(says);
  });

  test('has the defaults of the zod schema', async () => {
    const stored = load(await apply(shardedCluster(minimal), { dryRun: true })) as { spec: unknown };
    expect(stored.spec).toEqual(shardedClusterSpec.parse(minimal));
  });
});

describe.concurrent('a ReadReplicaSet', () => {
  test.each(badReplicaSets)('is refused with $what', async ({ spec, says }) => {
    expect(await refusal(readReplicaSet(spec))).toContain(says);
  });

  test.each(badReplicaChanges)('does not change to $what', async ({ before, spec, says }) => {
    made += 1;
    const name = `readers-${made}`;
    await apply(readReplicaSet(before, name));
    expect(await refusal(readReplicaSet(spec, name))).toContain(says);
  });

  test.each([
    ['a-name-that-is-much-too-long-for-a-set', 'may have 30 characters'],
    ['read.ers', 'lower-case letters, digits and "-"'],
    ['1st', 'starts with a letter'],
  ])('is refused with the name %s', async (name, says) => {
    expect(await refusal(readReplicaSet({ cluster: 'shop' }, name))).toContain(says);
  });
});

describe.concurrent('a table that is laid out', () => {
  test.each(badLayoutChanges)('does not change to $what', async ({ before, spec, says }) => {
    expect(await refusal(shardedCluster(spec, await laidOut(before)))).toContain(says);
  });

  test.each(goodLayoutChanges)('may change to $what', async ({ before, spec }) => {
    await apply(shardedCluster(spec, await laidOut(before)), { dryRun: true });
  });

  test('may be one of as many as there may be', async () => {
    const names = Array.from({ length: 200 }, (_, index) => `t${index}`);
    const tables = names.map((name) => ({ name, strategy: 'hash', key: 'id', group: 'all' }));
    await apply(shardedCluster({ ...minimal, tables }, 'many'));
    await setStatus('many', { laidOutTables: names });
    await apply(shardedCluster({ ...minimal, members: 1, tables }, 'many'), { dryRun: true });
  });

  test('may be corrected in any way before it is laid out', async () => {
    const entry = { name: 'orders', strategy: 'hash', key: 'custmer', buckets: 8 };
    await apply(shardedCluster({ ...minimal, tables: [entry] }, 'typo'));
    const corrected = { name: 'orders', strategy: 'directory', key: 'customer', buckets: 16 };
    await apply(shardedCluster({ ...minimal, tables: [corrected] }, 'typo'), { dryRun: true });
  });
});

describe.concurrent('a cluster whose second shard of three has gone', () => {
  const on = (shard: string): Spec => regions([{ name: 'eu', values: ['de'], shards: [shard] }]);
  const scaled = async (): Promise<string> => {
    made += 1;
    const name = `scaled-${made}`;
    await apply(shardedCluster(regions([{ name: 'eu', values: ['de'] }]), name));
    const counts = { desired: 2, current: 2, ready: 2, summary: '2/2', items: [] };
    await setStatus(name, { shards: { ...counts, names: ['s0', 's2'] } });
    return name;
  };

  test('may name the third', async () => {
    await apply(shardedCluster(on('s2'), await scaled()), { dryRun: true });
  });

  test('may not name one beyond it', async () => {
    const says = 'a region is pinned to a shard that is not there';
    expect(await refusal(shardedCluster(on('s3'), await scaled()))).toContain(says);
  });
});

describe('a ShardMap', () => {
  const bucket = (fields: Spec): Spec => ({
    id: 0,
    shard: 's0',
    epoch: 1,
    hash: { modulus: 2, remainder: 0 },
    ...fields,
  });
  const map = (epoch: number, ...buckets: readonly Spec[]): Spec => ({
    cluster: 'shop',
    epoch,
    groups: [{ name: 'customer', strategy: 'hash', buckets }],
  });
  const stored = map(3, bucket({ epoch: 2 }), bucket({ id: 1, shard: 's1' }));

  beforeAll(async () => {
    shardMapSpec.parse(stored);
    await apply(shardMap(stored));
  });

  test.each([
    {
      what: 'an epoch that goes back',
      spec: map(2, bucket({ epoch: 2 })),
      says: 'the epoch of a map never goes back',
    },
    {
      what: 'another cluster',
      spec: { ...stored, cluster: 'store' },
      says: 'a map belongs to one cluster for good',
    },
    {
      what: 'a new owner at the old epoch',
      spec: map(4, bucket({ epoch: 2, shard: 's1' }), bucket({ id: 1, shard: 's1' })),
      says: 'a bucket that changes its owner takes the new epoch of the map',
    },
    {
      what: 'a bucket newer than the map',
      spec: map(3, bucket({ epoch: 4, shard: 's1' })),
      says: 'a bucket has a newer epoch than the map',
    },
    {
      what: 'a bucket twice',
      spec: map(3, bucket({ epoch: 2 }), bucket({ epoch: 2, shard: 's1' })),
      says: 'id=0',
    },
    {
      what: 'another strategy',
      spec: {
        ...stored,
        groups: [{ name: 'customer', strategy: 'directory', buckets: [bucket({ epoch: 2 })] }],
      },
      says: 'a group keeps its strategy',
    },
  ])('is refused with $what', async ({ spec, says }) => {
    expect(await refusal(shardMap(spec))).toContain(says);
  });

  test('changes an owner with a new epoch', async () => {
    const moved = map(4, bucket({ epoch: 4, shard: 's1' }), bucket({ id: 1, shard: 's1' }));
    await apply(shardMap(moved), { dryRun: true });
  });

  test('may have as many buckets as the limits allow', async () => {
    const groups = Array.from({ length: 16 }, (_, group) => ({
      name: `g${group}`,
      strategy: 'hash',
      buckets: Array.from({ length: 1024 }, (_, id) =>
        bucket({ id, hash: { modulus: 1024, remainder: id } }),
      ),
    }));
    await apply(shardMap({ cluster: 'big', epoch: 1, groups }, 'big'), { dryRun: true });
  });

  test('kubectl get shows which move may change an owner of a ShardMap', async () => {
    const moving = { pending: { move: 'orders-1-to-s1.a1b2c3d4', attempt: 1 } };
    const groups = [
      { name: 'still', strategy: 'hash', buckets: [bucket({})] },
      { name: 'moving', strategy: 'hash', buckets: [bucket({}), bucket({ id: 1, ...moving })] },
    ];
    await apply(shardMap({ cluster: 'shop', epoch: 7, groups }, 'moving'));
    await apply(shardMap({ cluster: 'shop', epoch: 7, groups: groups.slice(0, 1) }, 'still'));
    const maps = ['get', `shardmaps.${group}`, 'moving', 'still', '--namespace', namespace];
    const [head, ...rows] = (await kubectl(maps)).trimEnd().split('\n');
    expect(head?.split(/\s+/)).toEqual(['NAME', 'CLUSTER', 'EPOCH', 'MOVING', 'AGE']);
    expect(rows[0]).toMatch(/^moving +shop +7 +orders-1-to-s1\.a1b2c3d4 +\w+$/);
    expect(rows[1]).toMatch(/^still +shop +7 +\w+$/);
  });
});

describe('for people', () => {
  test('kubectl explain describes fields', async () => {
    const text = await kubectl([
      'explain',
      'shardedclusters.spec.postgres',
      `--api-version=${group}/${version}`,
    ]);
    expect(text).toContain('PostgreSQL configuration parameters');
    expect(text).toContain('Only 17 is supported');
  });

  test('kubectl get has columns that say what the cluster is doing', async () => {
    await apply(shardedCluster(minimal, 'columns'));
    await setStatus('columns', {
      phase: 'Updating',
      primaries: 'columns-s0-1',
      map: { epoch: 7, buckets: 64 },
      rebalance: {
        phase: 'Balanced',
        message: 'nothing to move',
        shards: [],
        moves: [],
        totalMoves: 0,
        runningMoves: 0,
        bytes: 0,
        stuck: [],
      },
      shards: { desired: 1, current: 1, ready: 1, summary: '1/1', items: [] },
      members: { desired: 3, ready: 2, summary: '2/3' },
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'Serving',
          message: 'all shards serve',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
    });
    const rows = async (...options: string[]) =>
      (await kubectl(['get', resource, 'columns', '--namespace', namespace, ...options]))
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/\s{2,}/));
    const [head, row] = await rows();
    expect(head).toEqual(['NAME', 'SHARDS', 'MEMBERS', 'READY', 'STATUS', 'AGE']);
    expect(row?.slice(0, 5)).toEqual(['columns', '1/1', '2/3', 'True', 'Updating']);
    const [wideHead, wideRow] = await rows('--output', 'wide');
    expect(wideHead).toEqual([
      ...['NAME', 'SHARDS', 'MEMBERS', 'READY', 'STATUS', 'BALANCE', 'PRIMARIES', 'EPOCH', 'MESSAGE', 'AGE'],
    ]);
    expect(wideRow?.slice(5, 9)).toEqual(['Balanced', 'columns-s0-1', '7', 'all shards serve']);
  });

  test('kubectl scale sets the number of shards', async () => {
    await apply(shardedCluster(minimal, 'scaled'));
    await setStatus('scaled', {
      selector: 'herdsman.dev/cluster=scaled',
      shards: { desired: 1, current: 1, ready: 1, summary: '1/1', items: [] },
    });
    await kubectl([
      'scale',
      resource,
      'scaled',
      '--namespace',
      namespace,
      '--replicas=4',
      '--current-replicas=1',
    ]);
    const path = `/apis/${group}/${version}/namespaces/${namespace}/shardedclusters/scaled/scale`;
    const scale = JSON.parse(await kubectl(['get', '--raw', path]));
    expect(scale.spec).toEqual({ replicas: 4 });
    expect(scale.status).toEqual({ replicas: 1, selector: 'herdsman.dev/cluster=scaled' });
    const count = await kubectl([
      ...['get', resource, 'scaled', '--namespace', namespace, '--output', 'jsonpath={.spec.shards.count}'],
    ]);
    expect(count).toBe('4');
  });
});
