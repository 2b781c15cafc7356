import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import { type MoveController, startMoveController } from '../support/move-controller.ts';

// Moves for which there is no room, or no right. What else a ShardMove cannot name is in rebalance.test.ts.

const sql = `
  CREATE TABLE orders (id int PRIMARY KEY, body text) PARTITION BY HASH (id);
  CREATE TABLE flights (origin text, id int, body text, PRIMARY KEY (origin, id)) PARTITION BY LIST (origin)`;
const tables = [
  { name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 2 },
  {
    name: 'flights',
    strategy: 'geographic' as const,
    key: 'origin',
    regions: [{ name: 'east', values: ['JFK'], shards: ['s0'] }],
  },
];
/** Rows of `orders` on both shards, and of `flights`. */
const rowCount = 40;

let moves: MoveController;

beforeAll(async () => {
  moves = await startMoveController(sql, tables, async (shards) => {
    // Each shard takes the rows of its own buckets.
    for (const shard of ['s0', 's1'])
      await shards.rows(
        shard,
        `DO $$ BEGIN FOR n IN 1..${rowCount} LOOP
          BEGIN INSERT INTO public.orders VALUES (n, ''); EXCEPTION WHEN check_violation THEN NULL; END;
        END LOOP; END $$`,
      );
    await shards.rows(
      's0',
      `INSERT INTO public.flights SELECT 'JFK', n, '' FROM generate_series(1, ${rowCount}) n`,
    );
  });
}, 120_000);

afterAll(() => moves?.stop());

type Group = 'orders' | 'flights';

/** The first bucket of a group: where it is, and the name of its leaf. */
function bucketOf(group: Group): { id: number; from: string; to: string; leaf: string } {
  const { id = -1, shard = '' } = moves.bucketsOf(group)[0] ?? {};
  const leaf = `${group}_b${String(id).padStart(4, '0')}`;
  return { id, from: shard, to: shard === 's0' ? 's1' : 's0', leaf };
}

/** Whether the application reads and writes the rows of a bucket on a shard, with proof of ownership. */
async function expectServed(group: Group, shard: string, leaf: string): Promise<void> {
  const body = crypto.randomUUID();
  const session = await moves.shards.connectApplication(shard);
  try {
    const ofBucket = `WHERE tableoid = 'public.${leaf}'::regclass`;
    const read = () =>
      session.query<{ id: number; body: string }>({
        text: `SELECT id, body FROM public.${group} ${ofBucket} ORDER BY id`,
      });
    const before = await read();
    expect(before.length).toBeGreaterThan(0);
    await session.query({
      text: `BEGIN; SELECT FROM own.${leaf}; UPDATE public.${group} SET body = '${body}' ${ofBucket}; COMMIT`,
    });
    expect(await read()).toEqual(before.map(({ id }) => ({ id, body })));
  } finally {
    await session.close();
  }
}

/** Something that a move needs and that a test takes away. */
interface Shortage {
  readonly what: string;
  /** Which shard is short of it. */
  readonly at: 'from' | 'to';
  take(shard: string): Promise<unknown>;
  giveBack(shard: string): Promise<unknown>;
  /** What the status says of it. */
  readonly says: RegExp;
}

async function takeSlots(shard: string): Promise<void> {
  await moves.shards.rows(
    shard,
    `SELECT pg_create_physical_replication_slot('theirs_' || n) FROM generate_series(1,
      current_setting('max_replication_slots')::int - (SELECT count(*)::int FROM pg_replication_slots)) n`,
  );
}

function dropSlots(shard: string): Promise<unknown> {
  return moves.shards.rows(
    shard,
    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE starts_with(slot_name, 'theirs_')",
  );
}

async function prepareTransactions(shard: string): Promise<void> {
  const session = await moves.shards.connectApplication(shard);
  const [free] = await session.query<{ n: number }>({
    text: `SELECT current_setting('max_prepared_transactions')::int - count(*)::int AS n FROM pg_prepared_xacts`,
  });
  for (let n = 0; n < (free?.n ?? 0); n += 1)
    await session.query({ text: `BEGIN; PREPARE TRANSACTION 'theirs-${n}'` });
  await session.close();
}

async function endTransactions(shard: string): Promise<void> {
  const session = await moves.shards.connectApplication(shard);
  const prepared = await session.query<{ gid: string }>({
    text: "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, 'theirs-')",
  });
  for (const { gid } of prepared) await session.query({ text: `ROLLBACK PREPARED '${gid}'` });
  await session.close();
}

function changeVolumes(size: string): void {
  moves.changeCluster({ storage: shardedClusterSpec.shape.storage.parse({ size }) });
}

const prepared = { take: prepareTransactions, giveBack: endTransactions };
const preparedInUse =
  /^NoPreparedTransactions: shard s\d: (\d+) of max_prepared_transactions = \1 are in use, and a move needs 1 more: raise it, or end what uses them$/;

const shortages: readonly Shortage[] = [
  {
    what: 'replication slots',
    at: 'from',
    take: takeSlots,
    giveBack: dropSlots,
    says: /^NoReplicationSlots: shard s\d: (\d+) of max_replication_slots = \1 are in use, and a move needs 1 more: raise it, or end what uses them$/,
  },
  { what: 'prepared transactions', at: 'from', ...prepared, says: preparedInUse },
  { what: 'prepared transactions', at: 'to', ...prepared, says: preparedInUse },
  {
    what: 'room on the volume',
    at: 'to',
    take: async () => changeVolumes('16Mi'),
    giveBack: async () => changeVolumes('10Gi'),
    says: /^DiskTooSmall: shard s\d has \d+ MiB of 16 MiB free, and the move needs \d+ MiB \(.*\): raise spec\.storage\.size, or move less$/,
  },
];

describe('a move waits, says what to do, and leaves the bucket where it is served', () => {
  it.each(shortages)('without $what on the shard $at', async ({ what, at, take, giveBack, says }) => {
    const bucket = bucketOf('orders');
    const { id, from, to, leaf } = bucket;
    const name = `without-${what.replaceAll(' ', '-')}-${at}`;
    await take(bucket[at]);
    try {
      moves.ask(name, { group: 'orders', buckets: [id], to });
      const status = await moves.until(name, 'waits', ({ message }) => says.test(message ?? ''));
      expect(status.message).toContain(`shard ${bucket[at]}`);
      expect(status.phase ?? 'preflight').toBe('preflight');
      expect(bucketOf('orders')).toEqual(bucket);
      await expectServed('orders', from, leaf);
    } finally {
      await giveBack(bucket[at]);
    }
    await moves.until(name, 'is done', (status) => status.phase === 'done');
    await expectServed('orders', to, leaf);
  });
});

it('a move of a region to a shard outside it is refused, and says where it may go', async () => {
  const bucket = bucketOf('flights');
  const status = await moves.end('abroad', { group: 'flights', buckets: [bucket.id], to: 's1' });
  expect(status).toMatchObject({
    phase: 'failed',
    message:
      'NotAllowed: region "east" may only be on s0: name one of them, or change the region in spec.tables',
  });
  expect(bucketOf('flights')).toEqual(bucket);
  await expectServed('flights', 's0', bucket.leaf);
});
