import { expect, it } from 'vitest';
import type { Connections } from '../../postgres/connections.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { ObjectKey } from '../../runtime/kubernetes-object.ts';
import { encoded } from '../sharded-cluster/desired/secrets.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { type GatedShards, noGatedShards } from './gated-shards.ts';
import { emptyMemory } from './memory.ts';
import type { PoolerConfig } from './model.ts';
import { createPoolerObserver } from './observe.ts';
import { byCluster, type PoolerSources } from './sources.ts';
import { poolerConfig, targetCluster } from './test-support/world.ts';

/** Two PoolerConfigs of `shop`, each with a pod of its own. */
const addresses: Readonly<Record<string, string>> = { web: '10.0.0.1', jobs: '10.0.0.2' };

/** Other PoolerConfigs of `shop`, pods that are labelled with the names of any, and what the gate has told. */
interface Fleet {
  readonly present?: readonly PoolerConfig[];
  readonly left?: readonly string[];
  readonly gated?: GatedShards;
}

/** A server that knows of one session that listens, from one address. */
function observerWith(
  listening: string,
  monotonicMs = () => 0,
  primary = () => 'shop-s0-0',
  { present = [], left = [], gated = noGatedShards() }: Fleet = {},
) {
  const cluster = () => ({
    ...targetCluster(),
    status: { shards: { items: [{ name: 's0', primary: primary(), timeline: 1, members: [] }] } },
  });
  const pods = (name: string) => [
    {
      metadata: { name: `${name}-pooler-0`, namespace: 'store', uid: name },
      status: { podIP: addresses[name] },
    },
  ];
  const labelled = left.map((pooler) => ({
    metadata: { name: `${pooler}-pooler-0`, labels: { 'herdsman.dev/pooler': pooler } },
  }));
  const nothing = { cache: { get: () => undefined, byIndex: () => [] } };
  const member = { status: { podIP: '10.0.0.9' } };
  const connection = {
    query: async ({ values }: { values: [readonly string[]] }) => [
      {
        maxConnections: primary() === 'shop-s0-0' ? 100 : 50,
        reserved: 3,
        listeners: values[0].includes(listening) ? ['app'] : [],
      },
    ],
  };
  return createPoolerObserver({
    client: {
      read: async (_type: unknown, key: ObjectKey) => ({
        state: 'present',
        value: { metadata: key, data: encoded({ 'ca.crt': 'a', 'tls.crt': 'c', 'tls.key': 'k' }) },
      }),
    } as unknown as KubeClient,
    sources: {
      clusters: { cache: { get: cluster } },
      replicaSets: nothing,
      statefulSets: nothing,
      pods: { cache: { get: () => member } },
      plain: [],
    } as unknown as Sources,
    poolerSources: {
      pods: {
        cache: {
          byIndex: (index: string, value: string) =>
            index === byCluster ? labelled : pods(value.split('/')[1] ?? ''),
        },
      },
      poolers: { cache: { byIndex: () => present } },
    } as unknown as PoolerSources,
    connections: {
      use: (_options: unknown, work: (given: unknown) => unknown) => work(connection),
    } as unknown as Connections,
    gated,
    clock: { monotonicMs, now: () => new Date(0) },
  });
}

it('tells each PoolerConfig of the sessions of its own poolers', async () => {
  const observer = observerWith('10.0.0.1');
  const memories = { web: emptyMemory(), jobs: emptyMemory() };
  const listenersOf = async (name: 'web' | 'jobs') => {
    const pooler = poolerConfig();
    const named = { ...pooler, metadata: { ...pooler.metadata, name } };
    const { observed } = await observer.observe(named, memories[name], new AbortController().signal);
    return observed.targets.map(({ listeners }) => listeners);
  };
  expect(await listenersOf('web')).toEqual([['app']]);
  expect(await listenersOf('jobs')).toEqual([[]]);
  expect(await listenersOf('web')).toEqual([['app']]);
});

it('tells for how long somebody has served', async () => {
  const now = { ms: 0, primary: 'shop-s0-0' };
  const memory = emptyMemory();
  const observer = observerWith(
    '',
    () => now.ms,
    () => now.primary,
  );
  const servedMs = async (ms: number, primary: string) => {
    Object.assign(now, { ms, primary });
    const { observed } = await observer.observe(poolerConfig(), memory, new AbortController().signal);
    return observed.targets[0]?.servedMs;
  };
  expect(await servedMs(1_000, 'shop-s0-0')).toBe(0);
  expect(await servedMs(4_000, 'shop-s0-0')).toBe(3_000);
  expect(await servedMs(5_000, 'shop-s0-1')).toBe(0);
  expect(await servedMs(5_500, 'shop-s0-1')).toBe(500);
});

it('counts PoolerConfigs that were deleted for as long as pods of theirs are left', async () => {
  const named = (name: string, status?: PoolerConfig['status']): PoolerConfig => {
    const pooler = poolerConfig({}, status);
    return { ...pooler, metadata: { ...pooler.metadata, name, creationTimestamp: '2026-01-01T00:00:00Z' } };
  };
  const sized = { sizing: { total: 40, limit: 43, message: '' } };
  const takenWith = async (fleet: Fleet) => {
    const observer = observerWith('', undefined, undefined, fleet);
    const { observed } = await observer.observe(named('web'), emptyMemory(), new AbortController().signal);
    return observed.sharing.taken;
  };
  const jobs = named('jobs', sized);
  const unknown = Number.POSITIVE_INFINITY;
  expect(await takenWith({ present: [jobs], left: ['web', 'jobs'] })).toEqual({ names: ['jobs'], total: 40 });
  expect(await takenWith({ left: ['web', 'jobs'] })).toEqual({ names: ['jobs'], total: unknown });
  // Made anew under its name, before the pods of the former have ended.
  expect(await takenWith({ present: [named('jobs')], left: ['jobs'] })).toEqual({
    names: ['jobs'],
    total: unknown,
  });
  expect(await takenWith({ present: [named('jobs')] })).toEqual({ names: [], total: 0 });
});

it('asks another primary for its limits at once', async () => {
  const now = { primary: 'shop-s0-0' };
  const memory = emptyMemory();
  const observer = observerWith(
    '',
    () => 0,
    () => now.primary,
  );
  const maxConnections = async (primary: string) => {
    now.primary = primary;
    const { observed } = await observer.observe(poolerConfig(), memory, new AbortController().signal);
    const limits = observed.targets[0]?.limits;
    return limits?.state === 'present' ? limits.value.maxConnections : undefined;
  };
  expect(await maxConnections('shop-s0-0')).toBe(100);
  expect(await maxConnections('shop-s0-1')).toBe(50);
});

it('tells of the primary that clients were let to behind the gate, and of none that follows it within a minute', async () => {
  const switchedAt = async (ms: number, to: string | undefined) => {
    const gated = { ...noGatedShards(), switched: new Map([['store/web/s0', { atMs: 1_000, to }]]) };
    const observer = observerWith('', () => ms, undefined, { gated });
    const { observed } = await observer.observe(poolerConfig(), emptyMemory(), new AbortController().signal);
    return [...observed.switched];
  };
  expect(await switchedAt(2_000, '10.0.0.9')).toEqual(['s0']);
  expect(await switchedAt(2_000, '10.0.0.8')).toEqual([]);
  expect(await switchedAt(60_999, undefined)).toEqual(['s0']);
  // One that was restarted where it is never becomes another primary.
  expect(await switchedAt(61_000, undefined)).toEqual([]);
});
