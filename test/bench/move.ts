import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { primaryHost } from '../../src/resources/sharded-cluster/names.ts';
import { leafName } from '../../src/sharding/names.ts';
import { type ClientPod, startClientPod } from '../support/client-pod.ts';
import { kube } from '../support/cluster.ts';
import { kubectl } from '../support/kubectl.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import { startPacedWriters, type WrittenBucket } from '../support/paced-writers.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { compareWays } from './copy-ways.ts';
import { type Moved, reportMoves } from './move-report.ts';
import { type Measured, note, runCount } from './report.ts';

const group = 'customer';
const bucketCount = 8;
/** The bucket that is large: a million rows and 250 MB. */
const large = 0;
const largeRows = 1_000_000;
const smallRows = 2_000;
const writers = 8;
const writesPerSecond = Number(process.env.WRITES ?? 400);
/** How long writers are watched before anything moves. */
const restingMs = 30_000;
/** How long writers go on between copies, each of which begins after a checkpoint. */
const settlingMs = 2_000;
/** Requests of the operator, as its chart has them. */
const operatorRequests = { cpu: '200m', memory: '128Mi' };
const fencesWanted = Number(process.env.FENCES ?? 100);

/** What can be measured by itself. */
const parts = ['large', 'small', 'ways'] as const;
type Part = (typeof parts)[number];

/** Moves of a large bucket and of small ones under writers, beside a raw COPY of the same leaf; and other ways to copy. Or one of these. */
export async function move(words: readonly string[]): Promise<Measured> {
  const strange = words.find((word) => !parts.some((part) => part === word));
  if (strange !== undefined) throw new Error(`${strange}: write ${parts.join(', ')} or nothing`);
  const chosen = new Set<Part>(words.length === 0 ? parts : parts.filter((part) => words.includes(part)));
  const moves = chosen.has('large') || chosen.has('small') ? await moveUnderWriters(chosen) : undefined;
  const ways = chosen.has('ways') ? await compareWays(largeRows) : {};
  return { reach: moves?.reach ?? [], detail: { ...moves?.detail, ...ways } };
}

async function moveUnderWriters(chosen: ReadonlySet<Part>): Promise<Measured> {
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'shop' };
  try {
    await prepare(key);
    const rows = chosen.has('large') ? largeRows : smallRows;
    const pod = await startClientPod(key, { requests: operatorRequests });
    const bench = new Bench(key, pod, await bucketsOf(key, rows), rows);
    return await bench.run(chosen);
  } finally {
    await deleteNamespace(key.namespace);
  }
}

async function prepare(key: ClusterKey): Promise<void> {
  await applyCluster(key, {
    members: 1,
    shards: { count: 2 },
    rebalance: { mode: 'off' },
    resources: { requests: { cpu: '100m', memory: '512Mi' }, limits: { memory: '2Gi' } },
    storage: { size: '8Gi' },
    schema: [
      {
        name: '001',
        sql: `CREATE TABLE orders (customer_id int, id int, amount int, note text, PRIMARY KEY (customer_id, id))
          PARTITION BY HASH (customer_id)`,
      },
    ],
    tables: [{ name: 'orders', strategy: 'hash', key: 'customer_id', group, buckets: bucketCount }],
  });
  await waitUntilReady(key, { timeoutMs: 240_000 });
}

/** Customers of every bucket, with the rows that nobody writes. */
async function bucketsOf(key: ClusterKey, rowsOfLarge: number): Promise<WrittenBucket[]> {
  const shardAt = (id: number) => (id % 2 === 0 ? 's0' : 's1');
  const buckets: WrittenBucket[] = [];
  const places = new Map(
    await Promise.all(
      Array.from({ length: bucketCount }, async (_, id): Promise<[number, string]> => {
        const [row] = await query<{ shard: string }>(
          { namespace: key.namespace, cluster: key.name },
          'SELECT shard FROM herdsman.shard_map WHERE group_name = $1 AND bucket = $2',
          [group, id],
        );
        return [id, row?.shard ?? shardAt(id)];
      }),
    ),
  );
  for (let id = 0; id < bucketCount; id += 1) {
    const target = { namespace: key.namespace, cluster: key.name, shard: places.get(id) ?? '' };
    const customers = await query<{ n: number }>(
      target,
      `SELECT n FROM generate_series(1, 2000) n
        WHERE satisfies_hash_partition('orders'::regclass, ${bucketCount}, ${id}, n) ORDER BY n LIMIT 100`,
    );
    const keys = customers.map(({ n }) => n);
    const rows = id === large ? rowsOfLarge : smallRows;
    await query(
      target,
      `INSERT INTO orders SELECT ($1::int[])[1 + n % 100], n, n, repeat(md5(n::text), 6) FROM generate_series(1, $2::int) n`,
      [keys, rows],
    );
    await query(target, `ANALYZE ${leafName('orders', id)}`);
    buckets.push({ id, keys });
  }
  return buckets;
}

class Bench {
  readonly #key: ClusterKey;
  readonly #buckets: readonly WrittenBucket[];
  readonly #configs = new Map<string, pg.ClientConfig>();
  readonly #owners = new Map<number, string>();
  readonly #rowsOfLarge: number;
  readonly #pod: ClientPod;
  #count = 0;

  constructor(key: ClusterKey, pod: ClientPod, buckets: readonly WrittenBucket[], rowsOfLarge: number) {
    this.#key = key;
    this.#pod = pod;
    this.#buckets = buckets;
    this.#rowsOfLarge = rowsOfLarge;
  }

  async run(chosen: ReadonlySet<Part>): Promise<Measured> {
    for (const { id } of this.#buckets) this.#owners.set(id, await this.#ownerOf(id));
    const alone = chosen.has('large') ? await this.#rawRate() : undefined;
    const work = startPacedWriters({
      group,
      table: 'public.orders',
      buckets: this.#buckets,
      config: (shard) => this.#config(shard),
      writers,
      writesPerSecond,
    });
    await sleep(restingMs);
    const before = {
      fromMs: work.writes[Math.min(200, work.writes.length - 1)]?.atMs ?? 0,
      toMs: Date.now(),
    };
    const raw: number[] = [];
    const moves: Moved[] = [];
    for (let turn = 0; chosen.has('large') && turn < runCount(5); turn += 1) {
      await this.#settle();
      raw.push(await this.#rawRate());
      await this.#settle();
      moves.push(await this.#move(large));
      tell(moves.at(-1));
    }
    for (let turn = 0; chosen.has('small') && moves.length < fencesWanted; turn += 1) {
      moves.push(await this.#move(1 + (turn % (bucketCount - 1))));
      if (moves.length % 10 === 0) tell(moves.at(-1));
    }
    const rows = await work.stop();
    const ledger = await this.#judge(rows);
    const results = { moves, raw, work, before, ledger, large, writesPerSecond };
    return reportMoves(alone === undefined ? results : { ...results, alone });
  }

  async #config(shard: string): Promise<pg.ClientConfig> {
    const known = this.#configs.get(shard);
    if (known !== undefined) return known;
    const config = await applicationConfig({
      namespace: this.#key.namespace,
      cluster: this.#key.name,
      shard,
    });
    this.#configs.set(shard, config);
    return config;
  }

  async #client(shard: string): Promise<pg.Client> {
    const client = new pg.Client(await this.#config(shard));
    await client.connect();
    return client;
  }

  async #ownerOf(bucket: number): Promise<string> {
    const client = await this.#client('s0');
    const { rows } = await client.query<{ shard: string }>(
      'SELECT shard FROM herdsman.shard_map WHERE group_name = $1 AND bucket = $2',
      [group, bucket],
    );
    await client.end();
    return rows[0]?.shard ?? '';
  }

  /**
   * Bytes a second of a binary COPY piped into a table whose primary key is built after it, by two psql in a pod with the
   * processor time that the operator is given.
   */
  async #rawRate(): Promise<number> {
    const { namespace, name } = this.#key;
    const from = this.#owners.get(large) ?? '';
    const psql = (shard: string, ...commands: string[]) =>
      [
        `psql -qAtX -v ON_ERROR_STOP=1 -h ${primaryHost(name, shard, namespace)} app`,
        ...commands.map((command) => `-c "${command}"`),
      ].join(' ');
    const source = (command: string) => psql(from, command);
    const target = (...commands: string[]) => psql(from === 's0' ? 's1' : 's0', ...commands);
    const leaf = leafName('orders', large);
    const printed = await this.#pod.run([
      'bash',
      '-c',
      [
        'set -euo pipefail',
        source(`SELECT pg_table_size('${leaf}')`),
        target('CREATE TABLE raw_copy (LIKE orders)'),
        'began=$(date +%s%N)',
        `${source(`COPY ${leaf} TO STDOUT (FORMAT binary)`)} | ${target(
          'COPY raw_copy FROM STDIN (FORMAT binary)',
          'ALTER TABLE raw_copy ADD PRIMARY KEY (customer_id, id)',
        )}`,
        'echo $(($(date +%s%N) - began))',
        target('DROP TABLE raw_copy'),
      ].join('\n'),
    ]);
    const [bytes, nanoseconds] = printed.trim().split('\n').map(Number);
    return Number(bytes) / (Number(nanoseconds) / 1e9);
  }

  /** Writes what the last copy has left to be written, so that the next one does not pay for it; writers' pages are logged whole again after. */
  async #settle(): Promise<void> {
    const { namespace, name } = this.#key;
    for (const shard of ['s0', 's1']) {
      const psql = ['psql', '-h', '/run/postgresql', '-U', 'postgres', '-c', 'CHECKPOINT'];
      await kubectl(['exec', '-n', namespace, `${name}-${shard}-0`, '--', ...psql]);
    }
    await sleep(settlingMs);
  }

  async #move(bucket: number): Promise<Moved> {
    this.#count += 1;
    const name = `move-${this.#count}`;
    const from = this.#owners.get(bucket) ?? '';
    const to = from === 's0' ? 's1' : 's0';
    const { namespace } = this.#key;
    const source = await this.#client(from);
    const { rows } = await source.query<{ bytes: string }>('SELECT pg_table_size($1::regclass) AS bytes', [
      leafName('orders', bucket),
    ]);
    await source.end();
    const client = await kube();
    const fromMs = Date.now();
    await client.create(shardMoveType, {
      apiVersion,
      kind: 'ShardMove',
      metadata: { namespace, name },
      spec: { cluster: this.#key.name, group, buckets: [bucket], to, retention: '0s' },
    });
    const status = await waitFor(
      `${name} is done`,
      async () => {
        const found = await client.get<ShardMove>(shardMoveType, { namespace, name });
        if (found?.status?.phase === 'failed') throw new Error(JSON.stringify(found.status));
        return found?.status?.phase === 'done' ? { done: found.status } : { state: found?.status };
      },
      { everyMs: 100, timeoutMs: 120_000 },
    );
    this.#owners.set(bucket, to);
    const began = (phase: string) =>
      Date.parse(status.phases?.findLast((entry) => entry.name === phase)?.startedAt ?? '');
    const order = status.phases ?? [];
    return {
      bucket,
      bytes: Number(rows[0]?.bytes),
      wholeMs: began('finish') - fromMs,
      copyMs: began('catch-up') - began('copy'),
      fenceMs: status.fenceMs ?? Number.NaN,
      steps: status.steps ?? [],
      fromMs,
      toMs: Date.now(),
      began: order.map(({ name: phase, startedAt }) => [phase, Date.parse(startedAt)]),
      phasesMs: Object.fromEntries(
        order.map((entry, index) => [
          entry.name,
          Date.parse(order[index + 1]?.startedAt ?? entry.startedAt) - Date.parse(entry.startedAt),
        ]),
      ),
    };
  }

  /** What is there, beside what was acknowledged. */
  async #judge(rows: ReadonlyMap<string, number>): Promise<{ lost: number; doubled: number; stale: number }> {
    const found = new Map<string, number[]>();
    for (const shard of ['s0', 's1']) {
      const client = await this.#client(shard);
      const { rows: there } = await client.query<{ key: number; id: number; amount: number }>(
        `SELECT customer_id AS key, id, amount FROM orders WHERE note = 'w'`,
      );
      for (const { key, id, amount } of there)
        found.set(`${key}/${id}`, [...(found.get(`${key}/${id}`) ?? []), amount]);
      await client.end();
    }
    const counts = await Promise.all(
      ['s0', 's1'].map(async (shard) => {
        const client = await this.#client(shard);
        const { rows: there } = await client.query<{ n: string }>(
          `SELECT count(*) AS n FROM orders WHERE note <> 'w'`,
        );
        await client.end();
        return Number(there[0]?.n);
      }),
    );
    const untouched =
      counts.reduce((sum, n) => sum + n, 0) - (this.#rowsOfLarge + smallRows * (bucketCount - 1));
    return {
      lost: [...rows.keys()].filter((key) => !found.has(key)).length + Math.max(0, -untouched),
      doubled: [...found.values()].filter((amounts) => amounts.length > 1).length + Math.max(0, untouched),
      stale: [...found].filter(([key, amounts]) => rows.get(key) !== amounts[0]).length,
    };
  }
}

function tell(moved: Moved | undefined): void {
  if (moved === undefined) return;
  const { bucket, bytes, wholeMs, fenceMs, phasesMs } = moved;
  note(
    `bucket ${bucket}: ${Math.round(bytes / 1e6)} MB in ${wholeMs} ms (${JSON.stringify(phasesMs)}), fenced ${fenceMs} ms`,
  );
}
