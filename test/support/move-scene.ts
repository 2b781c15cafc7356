import type { ClientConfig } from 'pg';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { pauseAnnotation } from '../../src/resources/shard-move/pause.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import type { Step } from '../../src/sharding/move/model.ts';
import { kube } from './cluster.ts';
import { applicationConfig, query } from './pg.ts';
import type { KeyedRow } from './row-ledger.ts';
import { type ClusterKey, type ShardMap, type SpecInput, shardMapType } from './sharded-cluster.ts';
import { waitFor } from './wait.ts';

/** The tables that `startWriters` writes, in a group of so many buckets. */
export function ordersSpec(buckets: number): Partial<SpecInput> {
  return {
    schema: [
      {
        name: '001',
        sql: `CREATE TABLE customers (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
          CREATE TABLE orders (customer_id int REFERENCES customers, id int, amount int, PRIMARY KEY (customer_id, id))
            PARTITION BY HASH (customer_id)`,
      },
    ],
    tables: [
      { name: 'customers', strategy: 'hash', key: 'id', group: 'customer', buckets },
      { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer' },
    ],
  };
}

/** Makes customers of each bucket on its owner, and answers their numbers, those of one bucket beside those of all others. */
export async function makeCustomers(key: ClusterKey, perBucket: number): Promise<number[]> {
  const map = await readMap(key);
  const { buckets = [] } = map.spec.groups[0] ?? {};
  const found: number[][] = [];
  for (const { id, shard } of buckets) {
    const rows = await query<{ id: number }>(
      { ...target(key, shard) },
      `INSERT INTO customers SELECT n, 'c' || n FROM generate_series(1, ${perBucket * buckets.length * 3}) n
        WHERE satisfies_hash_partition('customers'::regclass, ${buckets.length}, ${id}, n) LIMIT ${perBucket} RETURNING id`,
    );
    found.push(rows.map((row) => row.id));
  }
  return Array.from({ length: perBucket }, (_, index) => found.map((ids) => ids[index] ?? 0)).flat();
}

function target(key: ClusterKey, shard: string) {
  return { namespace: key.namespace, cluster: key.name, shard };
}

/** Opens sessions on shards. */
interface Sessions {
  connectApplication(shard: string): Promise<Connection>;
}

/** Opens sessions as the application does on a shard's primary. */
export function applicationOf(key: ClusterKey, connectTimeoutMs?: number): Sessions {
  return sessionsBy((shard) => applicationConfig(target(key, shard)), connectTimeoutMs);
}

/** Opens sessions with what the configuration of a shard says. */
export function sessionsBy(
  configOf: (shard: string) => Promise<ClientConfig>,
  connectTimeoutMs = 2_000,
): Sessions {
  const configs = new Map<string, Promise<ClientConfig>>();
  return {
    async connectApplication(shard) {
      const found = configs.get(shard) ?? configOf(shard);
      configs.set(shard, found);
      found.catch(() => configs.delete(shard));
      const { host, port, user, password, database, ssl } = await found;
      if (typeof ssl !== 'object') throw new Error('the application connects by TLS');
      const opened = connect({
        host: host ?? '',
        port: port ?? 5432,
        user: user ?? '',
        password: String(password),
        database: database ?? '',
        tls: { ca: String(ssl.ca), servername: ssl.servername ?? '' },
        connectTimeoutMs,
      });
      // A forwarded port ends with its pod, so the way there is asked for again.
      opened.catch(() => configs.delete(shard));
      return opened;
    },
  };
}

/** Gives each customer so much to carry that a copy can be met while it is under way. */
export async function loadCustomers(key: ClusterKey, shard: string): Promise<void> {
  const text = "SELECT string_agg(md5(id || '/' || n), '') FROM generate_series(1, 640) n";
  await query(target(key, shard), `UPDATE customers SET name = (${text})`);
}

/** A ShardMove of one bucket; it waits before the step, if one is given. */
export async function createMove(
  key: ClusterKey,
  name: string,
  {
    bucket,
    to,
    before,
    maxBytesPerSecond,
  }: { bucket: number; to: string; before?: Step['kind'] | undefined; maxBytesPerSecond?: number },
): Promise<void> {
  const pace = maxBytesPerSecond === undefined ? {} : { maxBytesPerSecond };
  const { namespace } = key;
  const annotations = before === undefined ? {} : { [pauseAnnotation]: before };
  await (await kube()).create(shardMoveType, {
    apiVersion,
    kind: 'ShardMove',
    metadata: { namespace, name, annotations },
    spec: { cluster: key.name, group: 'customer', buckets: [bucket], to, retention: '0s', ...pace },
  });
}

/** Reads a ShardMove that has to be there. */
export async function readMove({ namespace }: ClusterKey, name: string): Promise<ShardMove> {
  const found = await (await kube()).get<ShardMove>(shardMoveType, { namespace, name });
  if (found === undefined) throw new Error(`ShardMove ${name} is not there`);
  return found;
}

/** All ShardMoves of a namespace. */
export async function readMoves({ namespace }: ClusterKey): Promise<readonly ShardMove[]> {
  return (await (await kube()).listAll<ShardMove>(shardMoveType, { namespace })).items;
}

/** Waits until a move stands before its step. */
export async function waitUntilPaused(key: ClusterKey, name: string, step: Step['kind']): Promise<ShardMove> {
  return waitFor(
    `ShardMove ${name} waits before ${step}`,
    async () => {
      const move = await readMove(key, name);
      return move.status?.message === `Paused: before ${step}` ? { done: move } : { state: move.status };
    },
    { everyMs: 50 },
  );
}

/** Waits until a move has copied some of its rows. */
export async function waitUntilCopying(key: ClusterKey, name: string): Promise<ShardMove> {
  return waitFor(`ShardMove ${name} copies`, async () => {
    const move = await readMove(key, name);
    const { phase, progress } = move.status ?? {};
    return phase === 'copy' && (progress?.percent ?? 0) > 0 ? { done: move } : { state: move.status };
  });
}

/** Lets a move go on. */
export async function release({ namespace }: ClusterKey, name: string): Promise<void> {
  const patch = { metadata: { annotations: { [pauseAnnotation]: null } } };
  await (await kube()).patch(shardMoveType, { namespace, name }, patch, { type: 'merge' });
}

/** Waits until a move has ended. */
export async function waitForEnd(
  key: ClusterKey,
  name: string,
  timeoutMs = 120_000,
): Promise<NonNullable<ShardMove['status']>> {
  return waitFor(
    `ShardMove ${name} has ended`,
    async () => {
      const { status } = await readMove(key, name);
      const isOver = status?.phase === 'done' || status?.phase === 'failed' || status?.phase === 'cancelled';
      return isOver ? { done: status } : { state: status };
    },
    { timeoutMs },
  );
}

/** The ShardMap of a cluster. */
export async function readMap(key: ClusterKey): Promise<ShardMap> {
  const map = await (await kube()).get<ShardMap>(shardMapType, key);
  if (map === undefined) throw new Error(`ShardMap ${key.name} is not there`);
  return map;
}

/** A bucket of the only group, as the map has it. */
export async function bucketOf(key: ClusterKey, id: number) {
  const bucket = (await readMap(key)).spec.groups[0]?.buckets.find((candidate) => candidate.id === id);
  if (bucket === undefined) throw new Error(`bucket ${id} is not in the map`);
  return bucket;
}

/** What shards have that only moves make, and each marker that is not where the map says, or missing there. */
export async function remains(key: ClusterKey): Promise<string[]> {
  const map = await readMap(key);
  const { buckets = [] } = map.spec.groups[0] ?? {};
  const shards = [...new Set(['s0', 's1', ...buckets.map(({ shard }) => shard)])];
  const wanted = buckets.map(({ id, shard }) => `${shard}: marker customer_b${String(id).padStart(4, '0')}`);
  const pending = buckets.flatMap((bucket) =>
    bucket.pending === undefined ? [] : [`pending: ${bucket.id}`],
  );
  const found = await Promise.all(
    shards.map(async (shard) =>
      (await query<{ thing: string }>(target(key, shard), remainsQuery)).map(
        ({ thing }) => `${shard}: ${thing}`,
      ),
    ),
  );
  const all = found.flat();
  return [
    ...pending,
    ...all.filter((thing) => !wanted.includes(thing)),
    ...wanted.filter((thing) => !all.includes(thing)).map((thing) => `missing: ${thing}`),
  ];
}

const remainsQuery = `
SELECT 'transaction ' || gid AS thing FROM pg_prepared_xacts
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_type = 'logical'
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'hm\\_%'
UNION ALL SELECT 'table ' || relname FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relispartition
UNION ALL SELECT 'marker ' || relname FROM pg_class WHERE relnamespace = 'own'::regnamespace AND relkind = 'r'`;

/**
 * The rows of `orders` on all shards that own something. Where a primary was lost just before, its Service may lead to the pod
 * that is gone until the nodes have heard of it: who connects tries again.
 */
export async function readOrders(key: ClusterKey): Promise<KeyedRow[]> {
  const map = await readMap(key);
  const shards = new Set(map.spec.groups[0]?.buckets.map(({ shard }) => shard));
  const read = (shard: string) =>
    waitFor(`the rows of ${shard} can be read`, async () => ({
      done: await query<{ key: string; value: number }>(
        target(key, shard),
        "SELECT customer_id || '/' || id AS key, amount AS value FROM orders",
      ),
    }));
  return (await Promise.all([...shards].map(read))).flat();
}
