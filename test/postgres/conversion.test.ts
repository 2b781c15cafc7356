import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog } from '../../src/postgres/catalog.ts';
import type { Connection } from '../../src/postgres/connection.ts';
import { readConversions } from '../../src/postgres/conversion/context.ts';
import type { ConversionPlan } from '../../src/sharding/conversion/plan.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import { Conversions, isFollowing } from '../support/conversion.ts';
import { judgeOrders, orderChange } from '../support/order-changes.ts';
import { leavesOf, makeWorld, open, openOperator, rows, type TestShard, type World } from './world.ts';

const schema = `
CREATE TABLE public.countries (code text PRIMARY KEY);
CREATE TABLE public.orders (customer_id int NOT NULL, id bigserial, country text REFERENCES public.countries ON DELETE SET NULL,
  total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED, n bigint GENERATED ALWAYS AS IDENTITY,
  note text DEFAULT 'x', PRIMARY KEY (customer_id, id), CHECK (total > -1000));
CREATE INDEX orders_by_total ON public.orders (total) WHERE total > 0;
CREATE TABLE public.lines (customer_id int NOT NULL, order_id bigint NOT NULL, line int, what text,
  CONSTRAINT lines_are_numbered PRIMARY KEY (customer_id, order_id, line),
  CONSTRAINT lines_once UNIQUE (customer_id, order_id, what),
  FOREIGN KEY (customer_id, order_id) REFERENCES public.orders ON DELETE CASCADE);
CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.what := upper(NEW.what); RETURN NEW; END $$;
CREATE TRIGGER shout BEFORE INSERT ON public.lines FOR EACH ROW EXECUTE FUNCTION public.shout();
CREATE TRIGGER quiet BEFORE UPDATE ON public.lines FOR EACH ROW EXECUTE FUNCTION public.shout();
ALTER TABLE public.lines DISABLE TRIGGER quiet;
CREATE VIEW public.big WITH (security_barrier = true) AS
  SELECT o.customer_id, o.id, l.line FROM public.orders o JOIN public.lines l ON l.order_id = o.id WHERE o.total > 5;
GRANT SELECT (total), UPDATE (total) ON public.orders TO pg_monitor;
GRANT INSERT ON public.orders TO PUBLIC;
COMMENT ON TABLE public.orders IS 'what was ordered';
COMMENT ON COLUMN public.orders.note IS 'anything'`;
const fill = `
INSERT INTO public.countries VALUES ('de'), ('fr');
INSERT INTO public.orders (customer_id, country, total) SELECT n % 100, 'de', n FROM generate_series(1, 5000) n;
INSERT INTO public.lines SELECT customer_id, id, 1, 'a' FROM public.orders`;
const tables: Table[] = [
  { name: 'countries', strategy: 'reference' },
  { name: 'orders', strategy: 'hash', key: 'customer_id', group: 'customer', buckets: 16 },
  { name: 'lines', strategy: 'hash', key: 'customer_id', group: 'customer' },
];

async function worldOf(name: string, count: number): Promise<{ world: World; conversions: Conversions }> {
  const world = await makeWorld(name, count);
  for (const shard of world.shards) await shard.application.query({ text: schema });
  await world.shard(0).application.query({ text: fill });
  const conversions = new Conversions(world);
  conversions.tables = tables;
  return { world, conversions };
}

/** Everything in the tables, as texts. */
async function content(connection: Connection): Promise<unknown> {
  return rows(
    connection,
    `SELECT (SELECT md5(string_agg(o::text, chr(10) ORDER BY customer_id, id)) FROM public.orders o) AS orders,
      (SELECT md5(string_agg(l::text, chr(10) ORDER BY customer_id, order_id, line)) FROM public.lines l) AS lines`,
  );
}

/** What is around the tables: everything that has to be the same after a conversion, but for the partitions. */
async function surroundings(connection: Connection): Promise<unknown> {
  return rows(
    connection,
    `SELECT c.relname, pg_get_userbyid(c.relowner) AS owner, obj_description(c.oid, 'pg_class') AS comment,
      (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(c.relacl) x) AS acl,
      (SELECT array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
          pg_get_expr(d.adbin, d.adrelid), a.attacl::text, col_description(c.oid, a.attnum), pg_get_serial_sequence(c.oid::regclass::text, a.attname)) ORDER BY a.attname)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
      (SELECT array_agg(k.conname || ' ' || pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype <> 'f') AS constraints,
      (SELECT array_agg(replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') ORDER BY 1) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes,
      (SELECT array_agg(pg_get_triggerdef(t.oid) || t.tgenabled::text ORDER BY t.tgname) FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname <> 'herdsman_note') AS triggers
      FROM pg_class c WHERE c.oid IN ('public.orders'::regclass, 'public.lines'::regclass) ORDER BY 1`,
  );
}

const kindOf = (shard: TestShard) =>
  rows<{ kind: string }>(
    shard.application,
    "SELECT DISTINCT relkind::text AS kind FROM pg_class WHERE oid IN ('public.orders'::regclass, 'public.lines'::regclass)",
  ).then((found) => found.map(({ kind }) => kind));

/** Clients that know nothing of shards: every row they were told of has to be there, and no error is seen. */
function startClients(world: World, count: number) {
  const wanted = new Map<string, number>();
  const errors: string[] = [];
  let stopping = false;
  let acknowledged = 0;
  async function work(client: number): Promise<void> {
    const session = await open(world.application, world.password, world.shard(0).database);
    for (let n = 0; !stopping; n += 1) {
      const change = orderChange(1000 + client, n);
      try {
        const done = await session.query({ text: `${change.text} RETURNING 1` });
        if (done.length !== 1) errors.push(`${change.text} found ${done.length} rows`);
        change.note(wanted);
        acknowledged += 1;
      } catch (error) {
        errors.push(String(error));
      }
    }
    await session.close();
  }
  const working = Promise.all(Array.from({ length: count }, (_, client) => work(client)));
  return {
    acknowledged: () => acknowledged,
    async stop() {
      stopping = true;
      await working;
      const found = await rows<{ key: string; total: string; lines: string }>(
        world.shard(0).application,
        `SELECT customer_id || '/' || id AS key, total, (SELECT count(*) FROM public.lines l WHERE l.customer_id = o.customer_id
          AND l.order_id = o.id) AS lines FROM public.orders o WHERE customer_id >= 1000`,
      );
      return { errors, ...judgeOrders(wanted, found) };
    },
  };
}

const good = { errors: [], lost: [], strange: [], doubled: 0 };

async function leftovers(shard: TestShard): Promise<unknown> {
  return rows(
    shard.operator,
    `SELECT c.relname FROM pg_class c WHERE c.relnamespace IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('herdsman_new', 'herdsman_old'))
      UNION ALL SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'herdsman'::regnamespace AND c.relname LIKE 'changes%'
      UNION ALL SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'herdsman'::regnamespace AND p.proname LIKE 'note%'
      UNION ALL SELECT t.tgname FROM pg_trigger t WHERE t.tgname = 'herdsman_note'
      UNION ALL SELECT c.group_name FROM herdsman.conversions c`,
  );
}

describe('a group of plain tables with rows and writers', () => {
  let world: World;
  let conversions: Conversions;
  beforeAll(async () => {
    ({ world, conversions } = await worldOf('convert', 1));
  });
  afterAll(() => world?.close());

  it('becomes distributed, and plain again, while clients see no error', async () => {
    const shard = world.shard(0);
    const before = await surroundings(shard.application);
    const clients = startClients(world, 4);
    const steps = await conversions.run('customer', isFollowing);
    expect(steps).toEqual(['stage', 'note', 'copy', 'build', 'verify', 'switch', 'own', 'settle']);
    expect(await kindOf(shard)).toEqual(['p']);
    expect(await surroundings(shard.application)).toEqual(before);
    await conversions.adopt();
    const layout = layoutOf(tables);
    const plan = await leavesOf(world, shard, conversions.map, layout);
    expect(plan.problems).toEqual([]);
    expect(plan.batches.map(({ title }) => title)).toEqual(['mirror of the map']);
    await applyBatches(shard.operator, plan.batches);
    expect(await rows(shard.application, "SELECT shard FROM herdsman.locate('customer', 7)")).toEqual([
      { shard: 's0' },
    ]);
    const since = clients.acknowledged();
    while (clients.acknowledged() < since + 200)
      await conversions.perform(await conversions.plan('customer'));
    conversions.tables = tables.slice(0, 1);
    expect(await conversions.run('customer', (next) => next.kind === 'none')).toEqual([
      'switch-back',
      'forget-group',
      'tidy',
    ]);
    expect(await kindOf(shard)).toEqual(['r']);
    expect(await surroundings(shard.application)).toEqual(before);
    expect(await clients.stop()).toEqual(good);
    expect(await leftovers(shard)).toEqual([]);
    expect((await readCatalog(shard.operator)).markers).toEqual([]);
    conversions.tables = tables;
  });

  it('keeps its foreign keys and sequences', async () => {
    const { application } = world.shard(0);
    await conversions.run('customer', isFollowing);
    const refused = (text: string, code: string) =>
      expect(application.query({ text })).rejects.toMatchObject({ sqlstate: code });
    await refused("INSERT INTO public.orders (customer_id, country) VALUES (1, 'xx')", '23503');
    await refused('INSERT INTO public.lines VALUES (1, 999999, 1)', '23503');
    await refused('INSERT INTO public.orders (customer_id, total) VALUES (1, -5000)', '23514');
    const [made] = await rows<{ id: string; n: string }>(
      application,
      "INSERT INTO public.orders (customer_id, country, total) VALUES (1, 'fr', 1) RETURNING id, n",
    );
    expect(Number(made?.id)).toBeGreaterThan(5000);
    expect(Number(made?.n)).toBeGreaterThan(5000);
    await application.query({ text: `INSERT INTO public.lines VALUES (1, ${made?.id}, 1, 'loud')` });
    expect(
      await rows(
        application,
        `SELECT what FROM public.lines WHERE order_id = ${made?.id} AND customer_id = 1`,
      ),
    ).toEqual([{ what: 'LOUD' }]);
    expect(
      await rows(application, "SELECT FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"),
    ).toEqual([]);
    await application.query({ text: "DELETE FROM public.countries WHERE code = 'fr'" });
    await application.query({ text: `DELETE FROM public.orders WHERE id = ${made?.id} AND customer_id = 1` });
    expect(
      await rows(application, `SELECT FROM public.lines WHERE order_id = ${made?.id} AND customer_id = 1`),
    ).toEqual([]);
    expect(await rows(application, 'SELECT FROM public.big')).not.toEqual([]);
  });

  it('stays distributed when the retention ends', async () => {
    const shard = world.shard(0);
    await conversions.adopt();
    conversions.retentionMs = 0;
    const before = await content(shard.application);
    expect(await conversions.run('customer', (next) => next.kind === 'none')).toEqual(['tidy']);
    expect(await content(shard.application)).toEqual(before);
    expect(await leftovers(shard)).toEqual([]);
  });
});

describe('an operator that ends in the middle of any step', () => {
  let world: World;
  let conversions: Conversions;
  beforeAll(async () => {
    ({ world, conversions } = await worldOf('convertcrash', 2));
  });
  afterAll(() => world?.close());

  /** Ends the operator's session while it works, and gives its successor another. */
  async function killed(plan: ConversionPlan, afterMs: number): Promise<void> {
    const other = await openOperator(world.shard(0).database);
    const pids: number[] = [];
    for (const shard of world.shards) {
      const [row] = await rows<{ pid: number }>(shard.operator, 'SELECT pg_backend_pid() AS pid');
      pids.push(row?.pid ?? 0);
    }
    const ends: Promise<unknown>[] = [];
    const timer = setTimeout(() => {
      for (const pid of pids) ends.push(other.query({ text: `SELECT pg_terminate_backend(${pid})` }));
    }, afterMs);
    await conversions.perform(plan).catch(() => undefined);
    clearTimeout(timer);
    await Promise.all(ends);
    await other.close();
    for (const shard of world.shards) {
      await shard.operator.close();
      Object.assign(shard, { operator: await openOperator(shard.database) });
    }
  }

  it('is followed by one that goes on, there and back, and nothing is lost', async () => {
    const shard = world.shard(0);
    const clients = startClients(world, 2);
    const seen = new Set<string>();
    for (const isDone of [isFollowing, (plan: ConversionPlan) => plan.kind === 'none']) {
      if (isDone !== isFollowing) {
        await conversions.adopt();
        conversions.tables = tables.slice(0, 1);
      }
      for (let tries = 0; tries < 100; tries += 1) {
        const plan = await conversions.plan('customer');
        if (isDone(plan)) break;
        const kind = plan.kind === 'step' ? plan.step : plan.kind;
        if (!seen.has(`${kind} ${tries % 3}`)) {
          seen.add(`${kind} ${tries % 3}`);
          await killed(plan, [0, 8, 25][tries % 3] ?? 0);
        } else await conversions.perform(plan);
      }
    }
    expect((await conversions.plan('customer')).kind).toBe('none');
    expect(await clients.stop()).toEqual(good);
    expect(await kindOf(shard)).toEqual(['r']);
    expect(await kindOf(world.shard(1))).toEqual(['r']);
    for (const each of world.shards) expect(await leftovers(each)).toEqual([]);
  });

  it('leaves no trace when the tables are taken out before the switch', async () => {
    const shard = world.shard(0);
    for (const last of ['note', 'copy', 'build', 'verify', 'switch']) {
      conversions.tables = tables;
      await conversions.run('customer', (plan) => plan.kind === 'step' && plan.step === last);
      conversions.tables = tables.slice(0, 1);
      const steps = await conversions.run('customer', (plan) => plan.kind === 'none');
      expect(steps).toEqual(last === 'switch' ? ['replace', 'tidy'] : ['tidy']);
      expect(await leftovers(shard)).toEqual([]);
      for (const each of world.shards) expect(await kindOf(each)).toEqual(['r']);
    }
  });
});

describe('a conversion that is disturbed', () => {
  let world: World;
  let conversions: Conversions;
  beforeAll(async () => {
    ({ world, conversions } = await worldOf('convertodd', 2));
  });
  afterAll(() => world?.close());
  const upTo = (step: string) => (plan: ConversionPlan) => plan.kind === 'step' && plan.step === step;

  it.each([
    ['TRUNCATE', 'TRUNCATE public.lines', 'switch', 'changed: Rewritten'],
    ['a rewrite', 'VACUUM FULL public.orders', 'switch', 'changed: Rewritten'],
    ...['copy', 'build', 'verify', 'switch'].map((step) => [
      'a new column',
      `ALTER TABLE public.orders ADD COLUMN before_${step} int`,
      step,
      'changed: TableChanged',
    ]),
    ['a CHECK', 'ALTER TABLE public.lines ADD CHECK (line < 1000)', 'switch', 'changed: TableChanged'],
  ])('by %s begins again: %s before "%s"', async (_, text, step, change) => {
    const { application } = world.shard(0);
    await conversions.run('customer', upTo(step));
    await application.query({ text });
    await application.query({
      text: "INSERT INTO public.orders (customer_id, country, total) VALUES (1, 'de', 1)",
    });
    const before = await content(application);
    expect(await conversions.run('customer', isFollowing)).toContain(change);
    expect(await content(application)).toEqual(before);
    await conversions.adopt();
    conversions.tables = tables.slice(0, 1);
    await conversions.run('customer', (plan) => plan.kind === 'none');
    conversions.tables = tables;
    expect(await content(application)).toEqual(before);
  });

  it('by a full disk says so, and leaves nothing when it is taken back', async () => {
    const { application } = world.shard(0);
    await application.query({
      text: `CREATE FUNCTION public.fits(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
          IF to_regclass('public.full_disk') IS NOT NULL THEN
            RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
          END IF;
          RETURN true; END $$;
        ALTER TABLE public.orders ADD CONSTRAINT orders_fit CHECK (public.fits(customer_id))`,
    });
    await conversions.run('customer', upTo('copy'));
    await application.query({ text: 'CREATE TABLE public.full_disk ()' });
    expect(await conversions.perform(await conversions.plan('customer'))).toMatchObject({
      kind: 'waiting',
      reason: 'DiskFull',
    });
    conversions.tables = tables.slice(0, 1);
    expect(await conversions.run('customer', (plan) => plan.kind === 'none')).toEqual(['tidy']);
    expect(await leftovers(world.shard(0))).toEqual([]);
    conversions.tables = tables;
    await application.query({
      text: `DROP TABLE public.full_disk; ALTER TABLE public.orders DROP CONSTRAINT orders_fit; DROP FUNCTION public.fits`,
    });
  });

  it('by an autovacuum of a partition goes on when that has left', async () => {
    await conversions.run('customer', upTo('switch'));
    const vacuum = await openOperator(world.shard(0).database);
    await vacuum.query({
      text: 'BEGIN; LOCK TABLE public.orders_b0003 IN SHARE UPDATE EXCLUSIVE MODE',
    });
    const switching = conversions.perform(await conversions.plan('customer'));
    await vacuum.query({ text: 'SELECT pg_sleep(1); COMMIT' });
    await vacuum.close();
    expect(await switching).toEqual({ kind: 'done' });
    await conversions.adopt();
    conversions.tables = tables.slice(0, 1);
    await conversions.run('customer', (plan) => plan.kind === 'none');
    conversions.tables = tables;
  });

  it('by a transaction with an old snapshot waits for its end', async () => {
    await conversions.run('customer', upTo('verify'));
    const old = await open(world.application, world.password, world.shard(0).database);
    await old.query({ text: 'BEGIN ISOLATION LEVEL REPEATABLE READ' });
    await old.query({ text: 'SELECT count(*) FROM public.countries' });
    // (Empty tables of other shards come before the switch.)
    await conversions.run('customer', upTo('switch'));
    expect(await conversions.perform(await conversions.plan('customer'))).toMatchObject({
      kind: 'waiting',
      reason: 'OldSnapshot',
    });
    await old.query({ text: 'COMMIT' });
    await old.close();
    await conversions.run('customer', isFollowing);
  });

  it('by columns that a migration adds later can no longer be taken back', async () => {
    await conversions.adopt();
    await world.shard(0).application.query({ text: 'ALTER TABLE public.orders ADD COLUMN later int' });
    expect(await conversions.run('customer', (plan) => plan.kind === 'none')).toEqual([
      'changed: TableChanged',
    ]);
    expect(await readConversions(world.shard(0).operator)).toEqual([]);
    expect(await kindOf(world.shard(0))).toEqual(['p']);
  });

  it('leaves other shards with partitioned tables, whose numbers are their own', async () => {
    const [shard] = world.shards.slice(1);
    if (shard === undefined) throw new Error('no shard');
    expect(await kindOf(shard)).toEqual(['p']);
    const next = await rows<{ id: string }>(
      shard.application,
      "SELECT nextval('public.orders_id_seq') AS id",
    );
    expect(Number(next[0]?.id)).toBeGreaterThan(10 ** 13);
    const plan = await leavesOf(world, shard, conversions.map, layoutOf(tables));
    expect(plan.problems).toEqual([]);
  });
});

describe('after the switch', () => {
  let worlds = 0;
  it.each([
    ['TRUNCATE', 'TRUNCATE public.lines', 'changed: Rewritten'],
    [
      'a migration that gives every row another value',
      "ALTER TABLE public.lines ALTER COLUMN what TYPE text USING what || '!'",
      'changed: Rewritten',
    ],
    ['an index', 'CREATE INDEX orders_later ON public.orders (total)', 'changed: TableChanged'],
    ['a CHECK', 'ALTER TABLE public.orders ADD CHECK (total >= 0)', 'changed: TableChanged'],
    ['NOT NULL', 'ALTER TABLE public.orders ALTER COLUMN total SET NOT NULL', 'changed: TableChanged'],
  ])('%s leaves no way back to tables without it', async (_, text, change) => {
    worlds += 1;
    const { world, conversions } = await worldOf(`convertlate${worlds}`, 1);
    const { application } = world.shard(0);
    await conversions.run('customer', isFollowing);
    await conversions.adopt();
    await application.query({ text });
    const before = await content(application);
    conversions.tables = tables.slice(0, 1);
    expect(await conversions.run('customer', (plan) => plan.kind === 'none')).toContain(change);
    expect(await content(application)).toEqual(before);
    expect(await kindOf(world.shard(0))).toEqual(['p']);
    expect(await leftovers(world.shard(0))).toEqual([]);
    await world.close();
  });
});
