import type { ShardMapSpec } from '../../api/v1alpha1/shard-map.ts';
import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ShardLoadStats } from '../../postgres/bucket-stats.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { initialMap } from '../../sharding/map.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { shardName } from '../sharded-cluster/names.ts';
import { addMeasures, startMeasurements } from './measure.ts';
import type { Measurements, RebalanceView, ShardMeasure } from './model.ts';

/** When the tests' clock begins. */
export const start = new Date('2026-01-09T12:00:00Z');
const MiB = 1024 ** 2;

/** What a test says of a cluster; what it leaves out is as on a healthy one. */
export interface Sketch {
  /** Shards that own the buckets at first. */
  readonly owners?: number;
  readonly shards?: Readonly<Record<string, unknown>> & { readonly count?: number };
  readonly rebalance?: Readonly<Record<string, unknown>>;
  readonly tables?: readonly Readonly<Record<string, unknown>>[];
}

/** A cluster whose shards are all ready, for tests. */
export function sketchCluster({ shards = {}, owners = 2, rebalance, tables }: Sketch): ShardedCluster {
  const count = shards.count ?? 2;
  const spec = shardedClusterSpec.parse({
    storage: { size: '10Gi' },
    resources: { limits: { cpu: '2' } },
    shards: { ...shards, count },
    rebalance,
    tables: tables ?? [
      { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 16 },
    ],
  });
  const items = Array.from({ length: Math.max(count, owners) }, (_, index) => {
    return { name: shardName(index), ready: true, readyMembers: 3, members: [] };
  });
  return {
    apiVersion: 'herdsman.dev/v1alpha1',
    kind: 'ShardedCluster',
    metadata: { name: 'shop', namespace: 'test', uid: 'uid', generation: 3 },
    spec,
    status: { shards: { desired: count, current: items.length, ready: items.length, summary: '', items } },
  };
}

/** The map of such a cluster, its buckets on the first shards. */
export function sketchMap(cluster: ShardedCluster, owners = 2): ShardMapSpec {
  const shards = Array.from({ length: owners }, (_, index) => ({ name: shardName(index) }));
  return initialMap('shop', layoutOf(cluster.spec.tables), shards);
}

/** What a shard says after so many seconds in which it was busy for a part of its two processors' time. */
export function sketchMeasure(
  map: ShardMapSpec,
  name: string,
  seconds: number,
  utilisation: number,
  more: Partial<ShardLoadStats> = {},
  hotBucket?: number,
): ShardMeasure {
  const buckets = map.groups.flatMap((group) =>
    group.buckets
      .filter((bucket) => bucket.shard === name)
      .map(({ id }) => ({
        group: group.name,
        id,
        reads: seconds * (id === hotBucket ? 10_000 : 100),
        writes: seconds * 10,
        blocks: 0,
        bytes: 20 * MiB,
        rows: 1_000,
      })),
  );
  return {
    name,
    atMs: seconds * 1_000,
    stats: {
      inRecovery: false,
      incarnation: name,
      buckets,
      connections: 10,
      maxConnections: 100,
      transactions: seconds * 50,
      activeMs: seconds * 1_000 * 2 * utilisation,
      databaseBytes: 400 * MiB,
      leftBytes: 0,
      usedBytes: 400 * MiB,
      ...more,
    },
  };
}

/** Measurements of a cluster whose shards were busy like this for so many windows. */
export function sketchMeasurements(
  map: ShardMapSpec,
  utilisations: Readonly<Record<string, number>>,
  windows = 5,
  hotBucket?: number,
): Measurements {
  const names = Object.keys(utilisations);
  let measurements = startMeasurements({});
  for (let round = 0; round <= windows; round += 1) {
    const measures = names.map((name) =>
      sketchMeasure(map, name, round * 30, utilisations[name] ?? 0, {}, hotBucket),
    );
    measurements = addMeasures(measurements, map, measures, names, { cores: 2, halfLifeMs: 120_000 });
  }
  return measurements;
}

/** A view of a cluster, its shards all half busy unless told otherwise. */
export function sketchView(sketch: Sketch = {}, more: Partial<RebalanceView> = {}): RebalanceView {
  const cluster = sketchCluster(sketch);
  const map = more.map ?? sketchMap(cluster, sketch.owners ?? 2);
  const busy = Object.fromEntries((cluster.status?.shards?.items ?? []).map(({ name }) => [name, 0.5]));
  return {
    cluster,
    map,
    measurements: sketchMeasurements(map, busy),
    moves: [],
    claims: [],
    now: start,
    ...more,
  };
}
