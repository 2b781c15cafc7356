import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Connection } from '../../src/postgres/connection.ts';
import { pauseAnnotation } from '../../src/resources/shard-move/pause.ts';
import { type MoveController, startMoveController } from '../support/move-controller.ts';
import { waitUntil } from '../support/wait.ts';

// What a user can write in a ShardMove, and in its cluster meanwhile.

const sql = `
  CREATE TABLE orders (id int PRIMARY KEY, body text) PARTITION BY HASH (id);
  CREATE FUNCTION dawdle(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE relname = 'dawdle_here') THEN PERFORM pg_sleep(600); END IF;
    RETURN n; END $$;
  CREATE FUNCTION fits(n int, unless text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    IF n > 3000 AND EXISTS (SELECT FROM pg_class WHERE relname = unless) THEN
      RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END IF;
    RETURN true; END $$;
  CREATE TABLE slow (id int PRIMARY KEY CHECK (fits(id, 'full_by_copy'))) PARTITION BY HASH (id);
  CREATE INDEX ON slow (dawdle(id), fits(id, 'full_by_index'));
  CREATE TABLE events (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)`;
const tables = [
  { name: 'orders', strategy: 'hash' as const, key: 'id', buckets: 4 },
  { name: 'slow', strategy: 'hash' as const, key: 'id', buckets: 2 },
  {
    name: 'events',
    strategy: 'range' as const,
    key: 'at',
    bounds: [{ to: '2026-01-01' }, { from: '2026-01-01' }],
  },
];

let moves: MoveController;

beforeAll(async () => {
  moves = await startMoveController(sql, tables, async (shards) => {
    // Each shard takes the rows of its own buckets.
    for (const shard of ['s0', 's1']) {
      await shards.rows(
        shard,
        `DO $$ BEGIN FOR n IN 1..4000 LOOP
          BEGIN INSERT INTO public.orders VALUES (n, repeat('x', 500)); EXCEPTION WHEN check_violation THEN NULL; END;
          BEGIN INSERT INTO public.slow VALUES (n); EXCEPTION WHEN check_violation THEN NULL; END;
        END LOOP; END $$`,
      );
    }
    const days = "INSERT INTO public.events SELECT '2025-01-01'::date + n, n FROM generate_series(0, 299) n";
    await shards.rows('s0', days);
  });
}, 120_000);

afterAll(() => moves?.stop());

const other = (shard = '') => (shard === 's0' ? 's1' : 's0');

/** A bucket of `orders`, and where it is. */
function bucketAt(index: number): { id: number; from: string; to: string } {
  const { id = -1, shard = '' } = moves.bucketsOf('orders')[index] ?? {};
  return { id, from: shard, to: other(shard) };
}

/** What moves leave on a server if they leave anything. */
async function left(shard: string): Promise<unknown[]> {
  return moves.shards.rows(
    shard,
    `SELECT slot_name::text AS name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication
      UNION ALL SELECT subname FROM pg_subscription UNION ALL SELECT gid FROM pg_prepared_xacts
      UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'hm\\_%'
      UNION ALL SELECT move FROM herdsman.moves`,
  );
}

it.each(['subscribe', 'verify', 'announce'])(
  '"cancel: true" takes back what was made before step %s',
  async (step) => {
    const { id, from, to } = bucketAt(0);
    const name = `cancelled-${step}`;
    moves.ask(name, { group: 'orders', buckets: [id], to }, { [pauseAnnotation]: step });
    await moves.until(name, 'is held', ({ message }) => message?.includes(step) === true);
    expect(await left(from)).not.toEqual([]);
    moves.change(name, { cancel: true });
    const status = await moves.until(name, 'is cancelled', ({ phase }) => phase === 'cancelled');
    expect(status.lastEnding).toMatchObject({ reason: 'Cancelled' });
    expect([await left(from), await left(to)]).toEqual([[], []]);
    expect(bucketAt(0)).toEqual({ id, from, to });
  },
);

/** What keeps a step at its work for as long as a test likes, how to see that it does, and how to end it. */
interface Delay {
  readonly step: 'copy-rows' | 'index' | 'verify';
  readonly shard: 'from' | 'to';
  /** Of the group `slow`; the session is one of the application. */
  begin(session: Connection, leaf: string): Promise<unknown>;
  /** Whether an activity on that shard is what waits. */
  readonly waiting: string;
}

const delays: readonly Delay[] = [
  {
    step: 'copy-rows',
    shard: 'from',
    // A slot waits for all who have written.
    begin: (session) => session.query({ text: 'BEGIN; SELECT pg_current_xact_id()' }),
    waiting: "query LIKE 'CREATE_REPLICATION_SLOT%' AND state = 'active'",
  },
  {
    step: 'index',
    shard: 'to',
    begin: (session) => session.query({ text: 'CREATE TABLE public.dawdle_here ()' }),
    waiting: "query LIKE '%CREATE INDEX%' AND wait_event = 'PgSleep'",
  },
  {
    step: 'verify',
    shard: 'to',
    begin: (session, leaf) => session.query({ text: `BEGIN; LOCK TABLE ${leaf} IN ACCESS EXCLUSIVE MODE` }),
    waiting: "query LIKE '%sum(hash #%' AND wait_event_type = 'Lock'",
  },
];

it.each(delays)('"cancel: true" ends the step $step at its work', async ({ step, shard, begin, waiting }) => {
  const bucket = moves.bucketsOf('slow')[0];
  const [from, to] = [bucket?.shard ?? '', other(bucket?.shard)];
  const where = shard === 'from' ? from : to;
  const name = `endless-${step}`;
  const waits = () =>
    moves.shards.rows(where, `SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ${waiting}`);
  moves.ask(name, { group: 'slow', buckets: [bucket?.id], to }, { [pauseAnnotation]: step });
  const { lagBytes: before } = await moves.until(
    name,
    'is held',
    ({ message }) => message?.includes(step) === true,
  );
  const session = await moves.shards.connectApplication(where);
  try {
    await begin(session, 'public.slow_b0000');
    await moves.release(name);
    await waitUntil('it works', async () => (await waits()).length > 0);
    if (step !== 'copy-rows') {
      await moves.shards.rows(from, 'UPDATE public.slow_b0000 SET id = id');
      const isBehind = ({ lagBytes = 0 }) => lagBytes > 100_000 && lagBytes !== before;
      await moves.until(name, 'tells how far the stream is behind', isBehind);
    }
    moves.change(name, { cancel: true });
    await waitUntil('it is ended', async () => (await waits()).length === 0);
  } finally {
    await session.query({ text: 'ROLLBACK; DROP TABLE IF EXISTS public.dawdle_here' });
    await session.close();
  }
  await moves.until(name, 'is cancelled', ({ phase }) => phase === 'cancelled');
  expect([await left(from), await left(to)]).toEqual([[], []]);
  expect(moves.bucketsOf('slow')[0]).toEqual(bucket);
});

it('"cancel: true" ends a move that waits for a cluster', async () => {
  moves.ask('nowhere', { cluster: 'nobodys', group: 'orders', buckets: [0], to: 's1' });
  await moves.until('nowhere', 'waits', ({ message }) => message?.startsWith('NoSuchCluster') === true);
  moves.change('nowhere', { cancel: true });
  const status = await moves.until('nowhere', 'is cancelled', ({ phase }) => phase === 'cancelled');
  expect(status.lastEnding).toMatchObject({ reason: 'Cancelled' });
});

it('a copy that waits for older transactions says so', async () => {
  const { id = -1, shard: from = '' } = moves.bucketsOf('slow')[0] ?? {};
  const session = await moves.shards.connectApplication(from);
  await session.query({ text: 'BEGIN; SELECT pg_current_xact_id()' });
  moves.ask('latecomer', { group: 'slow', buckets: [id], to: other(from) });
  await moves.until('latecomer', 'waits', ({ message }) => message?.startsWith('OlderTransactions') === true);
  await session.query({ text: 'COMMIT' });
  await session.close();
  const status = await moves.until('latecomer', 'is done', ({ phase }) => phase === 'done');
  expect(status).not.toHaveProperty('message');
});

it.each(['copy', 'index'])(
  'a disk that gets full in the phase %s ends the move, and is given back',
  async (phase) => {
    const { id = -1, shard: from = '' } = moves.bucketsOf('slow')[0] ?? {};
    const to = other(from);
    const session = await moves.shards.connectApplication(to);
    await session.query({ text: `CREATE TABLE public.full_by_${phase} ()` });
    const asked = { group: 'slow', buckets: [id], to };
    const status = await moves.end(`full-${phase}`, asked);
    expect(status).toMatchObject({
      phase: 'failed',
      failures: 1,
      lastEnding: { reason: 'DiskFull', message: expect.stringContaining('raise spec.storage.size') },
    });
    expect([await left(from), await left(to)]).toEqual([[], []]);
    const leaf = `public.slow_b${String(id).padStart(4, '0')}`;
    expect(await moves.shards.rows(to, `SELECT to_regclass('${leaf}') AS leaf`)).toEqual([{ leaf: null }]);
    await session.query({ text: `DROP TABLE public.full_by_${phase}` });
    await session.close();
    expect(await moves.end(`roomy-${phase}`, asked)).toMatchObject({ phase: 'done' });
  },
);

it('a disk that gets full just before writers are told ends the move, too', async () => {
  const { id, from, to } = bucketAt(3);
  const refuse = `CREATE FUNCTION public.fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_by_arm BEFORE UPDATE ON herdsman.moves FOR EACH ROW WHEN (NEW.armed) EXECUTE FUNCTION public.fill()`;
  await moves.shards.rows(to, refuse);
  const status = await moves.end('full-arm', { group: 'orders', buckets: [id], to });
  expect(status).toMatchObject({ phase: 'failed', failures: 1, lastEnding: { reason: 'DiskFull' } });
  expect([await left(from), await left(to)]).toEqual([[], []]);
  await moves.shards.rows(to, 'DROP FUNCTION public.fill() CASCADE');
});

it('"reverseOf" takes a move back while its retention runs, with what was written since', async () => {
  const { id, from, to } = bucketAt(1);
  moves.ask('there', { group: 'orders', buckets: [id], to, retention: '1h' });
  const done = await moves.until('there', 'is retained', ({ phase }) => phase === 'retain');
  expect(done).toMatchObject({
    verification: { compared: 'full', rows: expect.any(Number) },
    fenceMs: expect.any(Number),
  });
  expect(done.verification?.rows).toBeGreaterThan(0);
  const leaf = `public.orders_b${String(id).padStart(4, '0')}`;
  await moves.shards.rows(to, `UPDATE ${leaf} SET body = 'later'`);
  const back = await moves.end('back', { group: 'orders', buckets: [id], to: from, reverseOf: 'there' });
  expect(back.phase).toBe('done');
  expect(bucketAt(1)).toEqual({ id, from, to });
  const rows = await moves.shards.rows(from, `SELECT DISTINCT body FROM ${leaf}`);
  expect(rows).toEqual([{ body: 'later' }]);
});

it('"verify: counts" compares the numbers of rows, "none" nothing', async () => {
  const { id, to } = bucketAt(2);
  const counted = await moves.end('counted', { group: 'orders', buckets: [id], to, verify: 'counts' });
  expect(counted.verification).toMatchObject({ compared: 'counts' });
  const blind = await moves.end('blind', { group: 'orders', buckets: [id], to: other(to), verify: 'none' });
  expect([counted.phase, blind.phase]).toEqual(['done', 'done']);
  expect(blind.verification?.compared ?? 'none').toBe('none');
});

it('"maxBytesPerSecond" is a rate that no copy exceeds', async () => {
  const { id, from, to } = bucketAt(2);
  const [{ bytes } = { bytes: 0 }] = await moves.shards.rows<{ bytes: number }>(
    from,
    `SELECT sum(octet_length(body))::int AS bytes FROM public.orders_b${String(id).padStart(4, '0')}`,
  );
  const maxBytesPerSecond = 200_000;
  expect(bytes).toBeGreaterThan(2 * maxBytesPerSecond);
  const { phases = [] } = await moves.end('slowly', {
    group: 'orders',
    buckets: [id],
    to,
    maxBytesPerSecond,
  });
  const began = (phase: string) => Date.parse(phases.find(({ name }) => name === phase)?.startedAt ?? '');
  // What the rows alone have on the wire, less than a tenth of a second of which may come at once.
  const allowedMs = (bytes / maxBytesPerSecond) * 1_000 - 100;
  expect(began('catch-up') - began('copy')).toBeGreaterThanOrEqual(allowedMs);
}, 60_000);

it('"window" lets it start at its time, and says so', async () => {
  const { id, from, to } = bucketAt(0);
  const hour = (after: number) => `${String((new Date().getUTCHours() + after) % 24).padStart(2, '0')}:00`;
  moves.ask('nightly', { group: 'orders', buckets: [id], to, window: { start: hour(3), end: hour(4) } });
  const status = await moves.until('nightly', 'waits', ({ message }) => message !== undefined);
  expect(status.message).toBe(`WindowClosed: spec.window lets it start from ${hour(3)} to ${hour(4)} UTC`);
  moves.change('nightly', { window: { start: hour(0), end: hour(2) } });
  await moves.until('nightly', 'has ended', ({ phase }) => phase === 'done');
  expect(bucketAt(0)).toEqual({ id, from: to, to: from });
});

it('"at" splits a range at a bound', async () => {
  const [first] = moves.bucketsOf('events');
  const to = other(first?.shard);
  const spec = { operation: 'split', group: 'events', buckets: [first?.id], at: '2025-03-01', to };
  expect(await moves.end('split', spec)).toMatchObject({
    phase: 'done',
    children: [{ range: { to: '2025-03-01' } }, { range: { from: '2025-03-01', to: '2026-01-01' } }],
  });
});

it('a bucket that is on its way already is waited for, and that is told', async () => {
  const { id, to } = bucketAt(3);
  moves.ask('first', { group: 'orders', buckets: [id], to }, { [pauseAnnotation]: 'fence' });
  await moves.until('first', 'is held', ({ message }) => message?.includes('fence') === true);
  moves.ask('second', { group: 'orders', buckets: [id], to });
  await moves.until('second', 'waits', ({ message }) =>
    /being moved|takes part in ShardMove/.test(message ?? ''),
  );
  expect(moves.reasonsOf('second')).toEqual([]);
  moves.change('first', { cancel: true });
  await moves.until('first', 'is cancelled', ({ phase }) => phase === 'cancelled');
  await moves.until('second', 'has ended', ({ phase }) => phase === 'done');
  expect(moves.reasonsOf('first')).toEqual(['MoveStarted', 'Cancelled']);
  expect(moves.reasonsOf('second')).toEqual(['MoveStarted', 'Moved']);
});

it.each([
  ['of one bucket', [3, 3]],
  ['of two buckets', [0, 1]],
])('two moves %s that know nothing of each other begin one after the other', async (what, indexes) => {
  const names = ['one', 'two'].map((name) => `${name}-${what.replaceAll(' ', '-')}`);
  for (const [index, name] of names.entries()) {
    const { id, to } = bucketAt(indexes[index] ?? 0);
    moves.ask(name, { group: 'orders', buckets: [id], to }, { [pauseAnnotation]: 'publish' });
  }
  const hear = moves.holdBack();
  const told = async () => {
    const found = await Promise.all(names.map((name) => moves.until(name, 'is there', () => true)));
    return found.map(({ message }) => message?.split(':')[0] ?? '').sort();
  };
  try {
    const isSettled = async () => (await told()).join() === 'Paused,ShardBusy';
    await waitUntil('one is held and the other waits', isSettled, told);
    // The one that has begun is known on both shards.
    const begun = await Promise.all(
      ['s0', 's1'].map((shard) => moves.shards.rows(shard, 'SELECT move FROM herdsman.moves')),
    );
    expect(begun).toEqual([begun[1], begun[0]]);
    expect(begun[0]).toHaveLength(1);
  } finally {
    hear();
  }
  for (const name of names) await moves.release(name);
  const ended = await Promise.all(
    names.map((name) =>
      moves.until(name, 'has ended', ({ phase }) => phase === 'done' || phase === 'failed'),
    ),
  );
  // The second of one bucket finds it where it was to go.
  expect(ended.map(({ phase }) => phase).sort()).toEqual(
    new Set(indexes).size === 1 ? ['done', 'failed'] : ['done', 'done'],
  );
});

it('a transaction that stays open longer than a fence is tried for ends the attempt, which is begun again', async () => {
  const { id, from, to } = bucketAt(1);
  const number = String(id).padStart(4, '0');
  const [row] = await moves.shards.rows<{ id: number }>(
    from,
    `SELECT max(id) AS id FROM public.orders_b${number}`,
  );
  const [open, quick] = await Promise.all([1, 2].map(() => moves.shards.connectApplication(from)));
  try {
    moves.ask('patient', { group: 'orders', buckets: [id], to }, { [pauseAnnotation]: 'announce' });
    await moves.until('patient', 'is held', ({ message }) => message?.includes('announce') === true);
    await open?.query({
      text: `BEGIN; SELECT FROM own.orders_b${number}; UPDATE public.orders SET body = 'open' WHERE id = ${row?.id}`,
    });
    await moves.release('patient');
    await moves.until('patient', 'is kept from the fence', ({ fenceTries }) => (fenceTries ?? 0) > 0);
    // Others are not kept by it.
    const text = `BEGIN; SELECT FROM own.orders_b${number}; DELETE FROM public.orders WHERE id = -1; COMMIT`;
    for (let count = 0; count < 20; count += 1) await quick?.query({ text });
    // Thirty tries take a minute.
    await moves.remember('patient', { fenceTries: 27 });
    const { lastEnding } = await moves.until('patient', 'begins again', ({ attempt }) => (attempt ?? 1) > 1);
    expect(lastEnding).toMatchObject({ reason: 'FenceBlocked', next: 'switch' });
    expect(lastEnding?.message).toMatch(/transactions held the bucket through \d+ tries to fence it/);
    expect(bucketAt(1)).toMatchObject({ id, from, to });
    await open?.query({ text: 'COMMIT' });
  } finally {
    await Promise.all([open?.close(), quick?.close()]);
  }
  const done = await moves.until(
    'patient',
    'has ended',
    ({ phase }) => phase === 'done' || phase === 'failed',
  );
  expect(done).toMatchObject({ phase: 'done', copy: 1 });
  expect(await moves.shards.rows(to, `SELECT body FROM public.orders WHERE id = ${row?.id}`)).toEqual([
    { body: 'open' },
  ]);
}, 180_000);

it('a suspended cluster moves nothing, but brings a switch to its end, since writers wait', async () => {
  const { id, from, to } = bucketAt(3);
  moves.ask('held', { group: 'orders', buckets: [id], to }, { [pauseAnnotation]: 'drain' });
  await moves.until('held', 'is fenced', ({ message }) => message?.includes('drain') === true);
  for (const name of ['unbegun', 'unwanted']) moves.ask(name, { group: 'orders', buckets: [id], to });
  for (const name of ['unbegun', 'unwanted'])
    await moves.until(name, 'waits', ({ message }) => message?.startsWith('ShardBusy') === true);
  moves.changeCluster({ suspend: true });
  // Nothing of it is on any shard.
  moves.change('unbegun', { cancel: true });
  await moves.until('unbegun', 'is cancelled', ({ phase }) => phase === 'cancelled');
  moves.delete('unwanted');
  await waitUntil('what has not begun is gone', async () => !(await moves.isThere('unwanted')));
  // The hold is beyond its budget: the attempt is taken back though nobody unsuspends.
  await moves.until('held', 'gives writers their bucket back', ({ lastEnding }) => lastEnding !== undefined);
  expect(await moves.shards.rows(from, 'SELECT gid FROM pg_prepared_xacts')).toEqual([]);
  await moves.until('held', 'rests', ({ message }) => message?.startsWith('Suspended') === true);
  expect(bucketAt(3)).toEqual({ id, from, to });
  moves.change('held', { cancel: true });
  await moves.until('held', 'says when it is cancelled', ({ message }) =>
    /^Suspended: .*taken back when it is false again/.test(message ?? ''),
  );
  moves.changeCluster({ suspend: false });
  await moves.until('held', 'is cancelled', ({ phase }) => phase === 'cancelled');
});
