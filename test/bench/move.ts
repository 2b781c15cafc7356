import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { apiVersion } from '../../src/api/v1alpha1/common.ts';
import type { ShardMove } from '../../src/resources/shard-move/model.ts';
import { shardMoveType } from '../../src/resources/sharded-cluster/kinds.ts';
import { leafName } from '../../src/sharding/names.ts';
import { kube } from '../support/cluster.ts';
import { createNamespace, deleteNamespace } from '../support/namespace.ts';
import {
  type PacedWriters,
  startPacedWriters,
  type Write,
  type WrittenBucket,
} from '../support/paced-writers.ts';
import { applicationConfig, query } from '../support/pg.ts';
import { applyCluster, type ClusterKey, waitUntilReady } from '../support/sharded-cluster.ts';
import { waitFor } from '../support/wait.ts';
import { compareWays, pipeCopy } from './copy-ways.ts';
import { type Measured, median, note, percentile, reached, runCount } from './report.ts';
import { targets } from './targets.ts';

const group = 'customer';
const bucketCount = 8;
/** The bucket that is large: a million rows and 250 MB. */
const large = 0;
const largeRows = 1_000_000;
const smallRows = 2_000;
const writers = 8;
const writesPerSecond = Number(process.env.WRITES ?? 400);
const fencesWanted = Number(process.env.FENCES ?? 100);

/** Moves of a large bucket and of small ones under writers, beside a raw COPY of the same leaf and other ways to copy. */
export async function move(): Promise<Measured> {
  const key: ClusterKey = { namespace: await createNamespace('bench'), name: 'shop' };
  try {
    await prepare(key);
    const buckets = await bucketsOf(key);
    const bench = new Bench(key, buckets);
    return await bench.run();
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
async function bucketsOf(key: ClusterKey): Promise<WrittenBucket[]> {
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
    const rows = id === large ? largeRows : smallRows;
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

/** One move, as its status and its clients tell of it. */
interface Moved {
  readonly bucket: number;
  readonly bytes: number;
  readonly wholeMs: number;
  readonly copyMs: number;
  readonly fenceMs: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly phasesMs: Readonly<Record<string, number>>;
}

class Bench {
  readonly #key: ClusterKey;
  readonly #buckets: readonly WrittenBucket[];
  readonly #configs = new Map<string, pg.ClientConfig>();
  readonly #owners = new Map<number, string>();
  #count = 0;

  constructor(key: ClusterKey, buckets: readonly WrittenBucket[]) {
    this.#key = key;
    this.#buckets = buckets;
  }

  async run(): Promise<Measured> {
    for (const { id } of this.#buckets) this.#owners.set(id, await this.#ownerOf(id));
    const alone = await this.#rawRate();
    const work = startPacedWriters({
      group,
      table: 'public.orders',
      buckets: this.#buckets,
      config: (shard) => this.#config(shard),
      writers,
      writesPerSecond,
    });
    await sleep(10_000);
    const before = {
      fromMs: work.writes[Math.min(200, work.writes.length - 1)]?.atMs ?? 0,
      toMs: Date.now(),
    };
    const raw: number[] = [];
    const moves: Moved[] = [];
    for (let turn = 0; turn < runCount(5); turn += 1) {
      raw.push(await this.#rawRate());
      moves.push(await this.#move(large));
      tell(moves.at(-1));
    }
    for (let turn = 0; moves.length < fencesWanted; turn += 1)
      moves.push(await this.#move(1 + (turn % (bucketCount - 1))));
    const rows = await work.stop();
    const ledger = await this.#judge(rows);
    const ways = await compareWays(largeRows);
    return this.#report({ moves, raw, alone, work, before, ledger, ways });
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

  /** Bytes a second of a binary COPY piped into a table whose primary key is built after it. */
  async #rawRate(): Promise<number> {
    const from = this.#owners.get(large) ?? '';
    const [source, target] = await Promise.all([
      this.#client(from),
      this.#client(from === 's0' ? 's1' : 's0'),
    ]);
    const leaf = leafName('orders', large);
    try {
      const { rows } = await source.query<{ bytes: string }>('SELECT pg_table_size($1::regclass) AS bytes', [
        leaf,
      ]);
      await target.query('CREATE TABLE raw_copy (LIKE orders)');
      const began = performance.now();
      await pipeCopy(
        source,
        target,
        `COPY ${leaf} TO STDOUT (FORMAT binary)`,
        'COPY raw_copy FROM STDIN (FORMAT binary)',
      );
      await target.query('ALTER TABLE raw_copy ADD PRIMARY KEY (customer_id, id)');
      return Number(rows[0]?.bytes) / ((performance.now() - began) / 1000);
    } finally {
      await target.query('DROP TABLE IF EXISTS raw_copy');
      await Promise.all([source.end(), target.end()]);
    }
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
      fromMs,
      toMs: Date.now(),
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
    const untouched = counts.reduce((sum, n) => sum + n, 0) - (largeRows + smallRows * (bucketCount - 1));
    return {
      lost: [...rows.keys()].filter((key) => !found.has(key)).length + Math.max(0, -untouched),
      doubled: [...found.values()].filter((amounts) => amounts.length > 1).length + Math.max(0, untouched),
      stale: [...found].filter(([key, amounts]) => rows.get(key) !== amounts[0]).length,
    };
  }

  #report({ moves, raw, alone, work, before, ledger, ways }: Results): Measured {
    const big = moves.filter(({ bucket }) => bucket === large);
    const fences = moves.map(({ fenceMs }) => fenceMs).filter((ms) => !Number.isNaN(ms));
    const between = (fromMs: number, toMs: number, of: (write: Write) => boolean) =>
      work.writes.filter((write) => write.atMs >= fromMs && write.atMs <= toMs && of(write));
    const usual = (of: (write: Write) => boolean) =>
      percentile(
        between(before.fromMs, before.toMs, of).map(({ tookMs }) => tookMs),
        0.99,
      );
    const longest = (writes: readonly Write[]) => Math.max(0, ...writes.map(({ tookMs }) => tookMs));
    const gapsMoved = moves.map(({ bucket, fromMs, toMs }) => {
      const isMoved = (write: Write) => write.bucket === bucket;
      return Math.max(0, longest(between(fromMs, toMs, isMoved)) - usual(isMoved));
    });
    const gapsOthers = moves.map(({ bucket, fromMs, toMs }) => {
      const isOther = (write: Write) => write.bucket !== bucket;
      return Math.max(0, longest(between(fromMs, toMs, isOther)) - usual(isOther));
    });
    const rate = (fromMs: number, toMs: number, of: (write: Write) => boolean) =>
      between(fromMs, toMs, of).length / ((toMs - fromMs) / 1000);
    const throughputs = big.map(({ fromMs, toMs }) => {
      const isOther = (write: Write) => write.bucket !== large;
      return rate(fromMs, toMs, isOther) / rate(before.fromMs, before.toMs, isOther);
    });
    const whole = big.map(({ bytes, wholeMs }) => bytes / (wholeMs / 1000));
    const copy = big.map(({ bytes, copyMs }) => bytes / (copyMs / 1000));
    const t = targets.move;
    return {
      reach: [
        reached(t.fenceMedian, percentile(fences, 0.5), fences.length),
        reached(t.fenceP99, percentile(fences, 0.99), fences.length),
        reached(t.gapMoved, percentile(gapsMoved, 0.99), gapsMoved.length),
        reached(t.gapOthers, percentile(gapsOthers, 0.99), gapsOthers.length),
        reached(t.rate, median(raw) / median(whole), big.length),
        reached(t.throughput, 1 / median(throughputs), throughputs.length),
        reached(t.errors, work.errors.length, 1),
        reached(t.lost, ledger.lost + ledger.stale, 1),
        reached(t.doubled, ledger.doubled, 1),
      ],
      detail: {
        megabytes: Math.round((big[0]?.bytes ?? 0) / 1e6),
        writesPerSecond: {
          asked: writesPerSecond,
          before: Math.round(rate(before.fromMs, before.toMs, () => true)),
        },
        copyMBps: copy.map(megabytes),
        wholeMBps: whole.map(megabytes),
        rawMBps: raw.map(megabytes),
        rawWithoutWritersMBps: megabytes(alone),
        copyToRaw: Math.round((median(copy) / median(raw)) * 100) / 100,
        fenceMaxMs: Math.max(...fences),
        gapMovedMs: { p50: Math.round(percentile(gapsMoved, 0.5)), max: Math.round(Math.max(...gapsMoved)) },
        gapOthersMs: {
          p50: Math.round(percentile(gapsOthers, 0.5)),
          max: Math.round(Math.max(...gapsOthers)),
        },
        usualP99Ms: Math.round(usual(() => true) * 10) / 10,
        phasesMs: big.map(({ phasesMs }) => phasesMs),
        smallWholeMs: Math.round(
          median(moves.filter(({ bucket }) => bucket !== large).map(({ wholeMs }) => wholeMs)),
        ),
        errors: [...new Set(work.errors)].slice(0, 5),
        ways,
      },
    };
  }
}

interface Results {
  readonly moves: readonly Moved[];
  readonly raw: readonly number[];
  readonly alone: number;
  readonly work: PacedWriters;
  readonly before: { readonly fromMs: number; readonly toMs: number };
  readonly ledger: { readonly lost: number; readonly doubled: number; readonly stale: number };
  readonly ways: Readonly<Record<string, number>>;
}

function megabytes(bytesPerSecond: number): number {
  return Math.round(bytesPerSecond / 1e5) / 10;
}

function tell(moved: Moved | undefined): void {
  if (moved === undefined) return;
  const { bucket, bytes, wholeMs, fenceMs, phasesMs } = moved;
  note(
    `bucket ${bucket}: ${Math.round(bytes / 1e6)} MB in ${wholeMs} ms (${JSON.stringify(phasesMs)}), fenced ${fenceMs} ms`,
  );
}
