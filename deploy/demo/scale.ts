import { kube } from '../../test/support/cluster.ts';
import { applicationOf, readMap, readMoves } from '../../test/support/move-scene.ts';
import { startWriters, type WrittenTable } from '../../test/support/move-writers.ts';
import { query } from '../../test/support/pg.ts';
import type { KeyedRow, RowVerdict } from '../../test/support/row-ledger.ts';
import {
  type ClusterKey,
  readCluster,
  type ShardMap,
  shardedClusterType,
  waitUntilReady,
} from '../../test/support/sharded-cluster.ts';
import { waitFor } from '../../test/support/wait.ts';
import { type BucketPlace, drawBuckets } from './buckets.ts';
import type { Progress } from './screen.ts';

/** The group whose buckets are watched. */
const group = 'aircraft';

/** What the writers write: the tail number is the key, `writer` numbers the row, and `n` is its value. */
const sightings: WrittenTable = {
  group,
  keyType: 'text',
  insert: 'INSERT INTO public.sightings (tailnum, writer, n) VALUES ($1, $2, $3) RETURNING 1',
  update: 'UPDATE public.sightings SET n = $3 WHERE tailnum = $1 AND writer = $2 RETURNING 1',
  delete: 'DELETE FROM public.sightings WHERE tailnum = $1 AND writer = $2 RETURNING 1',
};

/** One change of the number of shards. */
export interface ScaleOutcome {
  readonly from: number;
  readonly to: number;
  readonly tookMs: number;
  /** Buckets of the group that have another shard than before. */
  readonly moved: number;
  readonly commits: number;
  readonly longestGapMs: number;
  readonly errors: readonly string[];
  readonly verdict: RowVerdict;
  /** Where the buckets are at the end, in lines. */
  readonly picture: readonly string[];
}

/** Scales the cluster while writers write everywhere, shows where its buckets are, and compares what is there with what was told. */
export async function scaleUnderLoad(
  key: ClusterKey,
  count: number,
  tailNumbers: readonly string[],
  progress: Progress,
): Promise<ScaleOutcome> {
  const before = await placesOf(key);
  const from = new Set(before.map(({ shard }) => shard)).size;
  await clearSightings(key);
  const { status: known } = await readCluster(key);
  const numbered = Array.from({ length: count }, (_, index) => `s${index}`);
  const names = [...new Set([...(known?.shards?.names ?? []), ...numbered])]
    .slice(0, Math.max(from, count))
    .toSorted();
  const writers = startWriters(applicationOf(key), tailNumbers, {
    table: sightings,
    writers: 4,
    everyMs: 10,
  });
  const begun = performance.now();
  const client = await kube();
  await client.patch(shardedClusterType, key, { spec: { shards: { count } } }, { type: 'merge' });
  const show = async (): Promise<void> => {
    const { status } = await readCluster(key);
    const commits = writers.acknowledged().toLocaleString('en-US');
    progress(
      `${status?.members?.summary ?? '0'} members, ${commits} commits`,
      drawBuckets(await placesOf(key), before, names),
    );
  };
  const timer = setInterval(() => show().catch(() => undefined), 300);
  try {
    await waitUntilSpread(key, count);
    await waitUntilReady(key, { timeoutMs: 300_000 });
  } finally {
    clearInterval(timer);
  }
  const tookMs = performance.now() - begun;
  const report = await writers.stop();
  const after = await placesOf(key);
  const owners = new Map(before.map(({ bucket, shard }) => [bucket, shard]));
  return {
    from,
    to: count,
    tookMs,
    moved: after.filter(({ bucket, shard }) => owners.get(bucket) !== shard).length,
    commits: report.acknowledged,
    longestGapMs: report.longestGapMs,
    errors: [...report.errors, ...report.violations],
    verdict: report.ledger.judge(await readSightings(key)),
    picture: drawBuckets(
      after,
      before,
      names.filter((name) => after.some(({ shard }) => shard === name)),
    ),
  };
}

/** Every bucket of the group: who owns it, and where it is going. */
async function placesOf(key: ClusterKey): Promise<BucketPlace[]> {
  const [map, moves] = await Promise.all([readMap(key), readMoves(key)]);
  const running = new Map(
    moves
      .filter(({ spec, status }) => spec.group === group && isOnItsWay(status?.phase))
      .flatMap(({ spec }) => spec.buckets.map((bucket) => [bucket, spec.to] as const)),
  );
  return bucketsOf(map).map(({ id, shard }) => ({ bucket: id, shard, to: running.get(id) }));
}

function bucketsOf({ spec }: ShardMap): ShardMap['spec']['groups'][number]['buckets'] {
  return spec.groups.find(({ name }) => name === group)?.buckets ?? [];
}

function isOnItsWay(phase: string | undefined): boolean {
  return !['finish', 'retain', 'done', 'failed', 'cancelled'].includes(phase ?? '');
}

async function shardsOf(key: ClusterKey): Promise<string[]> {
  return [...new Set(bucketsOf(await readMap(key)).map(({ shard }) => shard))];
}

/** Waits until so many shards share the buckets, and none is on its way. */
export async function waitUntilSpread(key: ClusterKey, count: number): Promise<void> {
  await waitFor(
    `${count} shards share the buckets`,
    async () => {
      const { status } = await readCluster(key);
      const { phase, runningMoves, totalMoves } = status?.rebalance ?? {};
      const isAtRest = phase === 'Balanced' && runningMoves === 0 && totalMoves === 0;
      const isSpread = (await shardsOf(key)).length === count && status?.shards?.current === count;
      return isAtRest && isSpread ? { done: true } : { state: status?.rebalance };
    },
    { timeoutMs: 600_000 },
  );
}

async function clearSightings(key: ClusterKey): Promise<void> {
  for (const shard of await shardsOf(key)) {
    await ask(key, shard, 'TRUNCATE sightings');
  }
}

async function readSightings(key: ClusterKey): Promise<KeyedRow[]> {
  const rows: KeyedRow[] = [];
  for (const shard of await shardsOf(key)) {
    const text = "SELECT tailnum || '/' || writer AS key, n AS value FROM sightings";
    rows.push(...(await ask<{ key: string; value: number }>(key, shard, text)));
  }
  return rows;
}

/** Asks a shard, which may be about to hand over to the member in its home zone. */
function ask<Row extends Record<string, unknown>>(
  { namespace, name }: ClusterKey,
  shard: string,
  text: string,
): Promise<Row[]> {
  const target = { namespace, cluster: name, shard };
  return waitFor(`shard ${shard} answers`, async () => ({ done: await query<Row>(target, text) }));
}
