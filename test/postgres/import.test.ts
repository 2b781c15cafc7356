import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImportSpec } from '../../src/api/v1alpha1/import.ts';
import { type Connection, connect } from '../../src/postgres/connection.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { Import, isOver, Kill, waitsFor } from '../support/import.ts';
import { type OldServer, oldVersions, startOldPostgres } from '../support/old-postgres.ts';
import { judgeOrders, orderChange } from '../support/order-changes.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { waitFor } from '../support/wait.ts';
import { makeWorld, rows, type World } from './world.ts';

const schema = `
CREATE TYPE public.mood AS ENUM ('good', 'bad');
CREATE TABLE public.countries (code text PRIMARY KEY);
CREATE TABLE public.orders (customer_id int NOT NULL, id bigserial, country text REFERENCES public.countries, total numeric,
  twice numeric GENERATED ALWAYS AS (total * 2) STORED, n bigint GENERATED ALWAYS AS IDENTITY, mood public.mood DEFAULT 'good',
  tags text[], at timestamptz DEFAULT now(), weight float8, raw bytea, PRIMARY KEY (customer_id, id));
CREATE INDEX orders_by_total ON public.orders (total);
CREATE TABLE public.lines (customer_id int, order_id bigint, line int, what text, PRIMARY KEY (customer_id, order_id, line),
  FOREIGN KEY (customer_id, order_id) REFERENCES public.orders ON DELETE CASCADE);
CREATE SEQUENCE public.tickets;
CREATE FUNCTION public.loud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.what := upper(NEW.what); RETURN NEW; END $$;
CREATE TRIGGER loud BEFORE INSERT ON public.lines FOR EACH ROW EXECUTE FUNCTION public.loud()`;
const fill = `
INSERT INTO public.countries VALUES ('de'), ('fr');
INSERT INTO public.orders (customer_id, country, total, tags, weight, raw)
  SELECT n % 100, 'de', n, ARRAY['a', 'b''c'], sqrt(n), decode(md5(n::text), 'hex') FROM generate_series(1, 5000) n;
INSERT INTO public.lines SELECT customer_id, id, 1, 'a' FROM public.orders;
SELECT nextval('public.tickets') FROM generate_series(1, 7)`;

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.stop());

const login = { username: 'importer', password: "it's secret" };

/** A session on the other server, as its superuser or as who owns its tables. */
async function onServer(database: string, user = 'postgres', from: OldServer = server): Promise<Connection> {
  const password = user === 'postgres' ? from.password : login.password;
  const { host, port } = from;
  return connect({ host, port, database, user, password, tls: 'off', foreign: { encrypted: false } });
}

interface Scene {
  readonly world: World;
  readonly source: Connection;
  readonly database: string;
  readonly import: Import;
  /** A session of an application of the other server. */
  application(): Promise<Connection>;
}

/** A database on the other server with tables, and a cluster with the same ones, empty. */
async function sceneOf(
  name: string,
  change: Partial<ImportSpec> = {},
  count = 1,
  from: OldServer = server,
): Promise<Scene> {
  const database = `${name}_old`;
  const maintenance = await onServer('postgres', 'postgres', from);
  await maintenance.query({ text: `CREATE DATABASE ${database}` });
  await maintenance.query({
    text: `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'importer') THEN
        CREATE ROLE owner_of_old; CREATE ROLE importer LOGIN REPLICATION IN ROLE owner_of_old; END IF; END $$`,
  });
  await maintenance.query({ text: `ALTER ROLE importer PASSWORD '${scramVerifier(login.password)}'` });
  await maintenance.query({ text: `GRANT CREATE ON DATABASE ${database} TO owner_of_old` });
  await maintenance.close();
  const source = await onServer(database, 'postgres', from);
  await source.query({
    text: `GRANT ALL ON SCHEMA public TO owner_of_old; SET ROLE owner_of_old; SET search_path = public; ${schema}; ${fill}; RESET ROLE; RESET search_path`,
  });
  const world = await makeWorld(name, count);
  for (const shard of world.shards) await shard.application.query({ text: schema });
  const wanted: ImportSpec = {
    host: from.host,
    port: from.port,
    database,
    credentials: 'old',
    tls: { mode: 'disable' },
    cutover: 'manual',
    verify: 'full',
    ...change,
  };
  return {
    world,
    source,
    database,
    import: new Import(`herdsman_import_${name}`, world.shard(0), wanted, login),
    application: () => onServer(database, 'importer', from),
  };
}

const contentQuery = `
SELECT (SELECT md5(string_agg(o::text, chr(10) ORDER BY customer_id, id)) FROM public.orders o) AS orders,
  (SELECT md5(string_agg(l::text, chr(10) ORDER BY customer_id, order_id, line)) FROM public.lines l) AS lines,
  (SELECT string_agg(c::text, chr(10) ORDER BY code) FROM public.countries c) AS countries`;

/** What an import has made on the other server and on the shard. */
async function leftovers({ source, world }: Scene): Promise<string[]> {
  const there = await rows<{ name: string }>(
    source,
    `SELECT slot_name::text AS name FROM pg_replication_slots WHERE database = current_database() UNION ALL SELECT pubname::text FROM pg_publication
      UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'herdsman%'
      UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'herdsman%'`,
  );
  const here = await rows<{ name: string }>(
    world.shard(0).operator,
    `SELECT subname::text AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'herdsman%' UNION ALL SELECT name FROM herdsman.imports`,
  );
  return [...there, ...here].map(({ name }) => name).toSorted();
}

/** What keeps writers out of three tables: a trigger for statements and one for rows on each, and their schema. */
const refusalOf = (name: string) => [name, name, name, name, ...[1, 2, 3].map(() => `${name}_row`)];

/** Clients of the other server, until it refuses them; what it has acknowledged must be on the cluster afterwards. */
function startWriters(scene: Scene, count: number) {
  const wanted = new Map<string, number>();
  const refusals: string[] = [];
  let acknowledged = 0;
  let stopping = false;
  async function work(writer: number): Promise<void> {
    const session = await scene.application();
    for (let n = 0; !stopping; n += 1) {
      const change = orderChange(1000 + writer, n);
      try {
        await session.query({ text: change.text });
      } catch (error) {
        refusals.push(String(error));
        break;
      }
      change.note(wanted);
      acknowledged += 1;
    }
    await session.close();
  }
  const working = Promise.all(Array.from({ length: count }, (_, writer) => work(writer)));
  return {
    acknowledged: () => acknowledged,
    refusals,
    async stop() {
      stopping = true;
      await working;
      const found = await rows<{ key: string; total: string }>(
        scene.world.shard(0).application,
        "SELECT customer_id || '/' || id AS key, total FROM public.orders WHERE customer_id >= 1000",
      );
      return judgeOrders(wanted, found);
    },
  };
}

const nothing = { lost: [], strange: [], doubled: 0 };

describe.each([17, ...oldVersions])('an import with writers from PostgreSQL %i', (version) => {
  let scene: Scene;
  let writers: ReturnType<typeof startWriters>;
  let old: OldServer | undefined;
  beforeAll(async () => {
    old = version === 17 ? undefined : await startOldPostgres(version);
    scene = await sceneOf(`imp_${version}`, {}, 1, old);
    writers = startWriters(scene, 4);
  });
  afterAll(async () => {
    await scene?.world.close();
    await scene?.source.close();
    await old?.stop();
  });

  it('copies and keeps in step, and the cluster takes no writes meanwhile', async () => {
    expect(await scene.import.run(waitsFor('AwaitingCutover'))).toEqual([
      'prepare',
      'publish',
      'subscribe',
      'follow',
    ]);
    const write = scene.world
      .shard(0)
      .application.query({ text: "INSERT INTO public.countries VALUES ('it')" });
    await expect(write).rejects.toMatchObject({ sqlstate: 'HD004' });
    await expect(
      scene.world.shard(0).application.query({ text: 'TRUNCATE public.lines' }),
    ).rejects.toMatchObject({ sqlstate: 'HD004' });
  });

  it('switches without losing or doubling a row', async () => {
    const before = writers.acknowledged();
    await waitFor('writers write', async () =>
      writers.acknowledged() > before + 100 ? { done: true } : { state: writers.refusals },
    );
    scene.import.want({ cutover: 'auto' });
    expect(await scene.import.run(isOver)).toEqual(['fence', 'verify', 'switch', 'release']);
    expect(await writers.stop()).toEqual(nothing);
    expect(writers.refusals).toHaveLength(4);
    expect(writers.refusals[0]).toMatch(/has moved to cluster "test"/);
    expect(await rows(scene.world.shard(0).operator, contentQuery)).toEqual(
      await rows(scene.source, contentQuery),
    );
  });

  it('lets sequences go on where they were', async () => {
    const next = `SELECT (SELECT last_value FROM public.orders_id_seq) AS id, (SELECT last_value FROM public.orders_n_seq) AS n,
      (SELECT last_value FROM public.tickets) AS ticket`;
    expect(await rows(scene.world.shard(0).application, next)).toEqual(await rows(scene.source, next));
    await scene.world.shard(0).application.query({
      text: 'INSERT INTO public.orders (customer_id, total) VALUES (1, 1)',
    });
  });

  it('leaves nothing at the other server but the refusal of writes, and nothing when it is forgotten', async () => {
    const name = scene.import.name;
    expect(await leftovers(scene)).toEqual([name, ...refusalOf(name)]);
    scene.import.want(undefined);
    expect(await scene.import.run(isOver)).toEqual(['forget']);
    expect(await leftovers(scene)).toEqual(refusalOf(name));
  });
});

describe('an import whose operator is killed', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await sceneOf('imp_kill', { cutover: 'auto' });
  });
  afterAll(() => scene?.world.close());

  it('is gone on with by the next one, wherever it was', async () => {
    const killed = new Map<string, number>();
    const endsMs = Date.now() + 120_000;
    for (;;) {
      const seen = await scene.import.look();
      if (isOver(seen.plan)) break;
      if (Date.now() > endsMs) throw new Error(JSON.stringify([seen.plan, [...killed]]));
      if (seen.plan.kind !== 'step') continue;
      // Every step is killed before its first query and after each of them; then it may do all.
      const key = `${seen.plan.step} ${seen.view.shard?.record?.phase ?? ''}`;
      const attempt = killed.get(key) ?? 0;
      killed.set(key, attempt + 1);
      const kill = attempt === 0 ? new Kill(1, 'before') : new Kill(attempt, 'after');
      await scene.import.perform(seen, kill).catch((error: unknown) => {
        if (!kill.fired) throw error;
      });
    }
    expect([...killed.keys()]).toEqual([
      'prepare ',
      'publish prepared',
      'subscribe prepared',
      'follow copying',
      'fence following',
      'verify fenced',
      'switch verified',
      'release switched',
    ]);
    expect([...killed.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(40);
    expect(await rows(scene.world.shard(0).operator, contentQuery)).toEqual(
      await rows(scene.source, contentQuery),
    );
    const { name } = scene.import;
    expect(await leftovers(scene)).toEqual([name, ...refusalOf(name)]);
  });
});

describe('an import that is given up', () => {
  it.each<[string, (scene: Scene) => Promise<unknown>]>([
    ['prepared', async ({ import: it }) => it.perform(await it.look())],
    ['published', ({ import: it }) => it.run((plan) => plan.kind === 'step' && plan.step === 'subscribe')],
    [
      'while it copies',
      ({ import: it }) => it.run((plan) => plan.kind === 'wait' && plan.reason === 'Copying'),
    ],
    ['in step', ({ import: it }) => it.run(waitsFor('AwaitingCutover'))],
    [
      'fenced',
      async ({ import: it }) => {
        it.want({ cutover: 'auto' });
        await it.run((plan) => plan.kind === 'step' && plan.step === 'verify');
      },
    ],
    [
      'verified',
      async ({ import: it }) => {
        it.want({ cutover: 'auto' });
        await it.run((plan) => plan.kind === 'step' && plan.step === 'switch');
      },
    ],
  ])('leaves nothing on either side: %s', async (name, until) => {
    const scene = await sceneOf(`imp_up_${name.replaceAll(' ', '_').slice(0, 9)}`);
    await until(scene);
    scene.import.want(undefined);
    expect(await scene.import.run(isOver)).toEqual(['withdraw', 'release']);
    expect(await leftovers(scene)).toEqual([]);
    const [empty] = await rows(scene.world.shard(0).operator, 'SELECT count(*)::int AS n FROM public.orders');
    expect(empty).toEqual({ n: 0 });
    for (const session of [scene.source, scene.world.shard(0).application])
      await session.query({ text: "INSERT INTO public.countries VALUES ('it')" });
    await scene.world.close();
  });
});

describe('an import in trouble', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await sceneOf('imp_bad');
  });
  afterAll(() => scene?.world.close());
  const shardContent = () => rows(scene.world.shard(0).operator, contentQuery);
  const crash = async () => {
    const [row] = await rows<{ pid: number }>(scene.source, 'SELECT pg_backend_pid() AS pid');
    const killing = await onServer(scene.database);
    await killing.query({ text: `COPY (SELECT 1) TO PROGRAM 'kill -9 ${row?.pid}'` }).catch(() => undefined);
    await waitFor('the server has noticed', () =>
      scene.source.closed && killing.closed ? { done: true } : { state: 'open' },
    );
    return waitFor('the server has recovered', async () => ({ done: await onServer(scene.database) }));
  };

  it('begins again when its slot is lost', async () => {
    await scene.import.run(waitsFor('AwaitingCutover'));
    await scene.source.query({
      text: `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'herdsman_import_imp_bad'`,
    });
    await waitFor(
      'the slot is dropped',
      async () => {
        await scene.source.query({ text: "SELECT pg_drop_replication_slot('herdsman_import_imp_bad')" });
        return { done: true };
      },
      { everyMs: 5 },
    );
    await scene.source.query({ text: "UPDATE public.orders SET country = 'fr' WHERE customer_id < 10" });
    expect(await scene.import.run(waitsFor('AwaitingCutover'))).toEqual([
      'restart',
      'publish',
      'subscribe',
      'follow',
    ]);
  });

  it('goes on when the server has crashed', async () => {
    const source = await crash();
    await source.query({
      text: 'INSERT INTO public.orders (customer_id, total) SELECT 7, n FROM generate_series(1, 50) n',
    });
    await waitFor('the rows are there', async () => {
      const [found] = await rows<{ n: number }>(
        scene.world.shard(0).operator,
        'SELECT count(*)::int AS n FROM public.orders WHERE customer_id = 7',
      );
      return found?.n === 100 ? { done: true } : { state: found };
    });
    await source.close();
  });

  it('lets the server write again when rows differ, and copies again when told', async () => {
    await scene.world.shard(0).application.query({
      text: `ALTER TABLE public.orders DISABLE TRIGGER USER; UPDATE public.orders SET total = total + 1 WHERE customer_id = 5;
        ALTER TABLE public.orders ENABLE TRIGGER USER`,
    });
    scene.import.want({ cutover: 'auto' });
    expect(await scene.import.run(waitsFor('VerificationFailed'))).toEqual(['fence', 'verify', 'unfence']);
    const source = await onServer(scene.database);
    await source.query({ text: "INSERT INTO public.countries VALUES ('it')" });
    scene.import.want({ cutover: 'manual' });
    expect(await scene.import.run(waitsFor('AwaitingCutover'))).toEqual([
      'restart',
      'publish',
      'subscribe',
      'follow',
    ]);
    scene.import.want({ cutover: 'auto' });
    await scene.import.run(isOver);
    expect(await shardContent()).toEqual(await rows(source, contentQuery));
    await source.close();
  });
});

it('lets nobody reopen the server who was held up until the cluster had taken over', async () => {
  const scene = await sceneOf('imp_late', { cutover: 'auto' });
  const { source, world } = scene;
  await scene.import.run((plan) => plan.kind === 'step' && plan.step === 'verify');
  const late = await scene.import.look();
  await scene.import.run((plan) => plan.kind === 'none');
  const held = { ...late, plan: { kind: 'step', step: 'unfence' } as const };
  await scene.import.perform(held).catch(() => undefined);
  await scene.import.perform({ ...late, plan: { kind: 'step', step: 'fence' } }).catch(() => undefined);
  const application = await scene.application();
  await expect(application.query({ text: 'DELETE FROM public.lines' })).rejects.toThrow('has moved to');
  await application.close();
  await source.close();
  await world.close();
});

it('leaves the server open when it is given up by one, and fenced by who was held up', async () => {
  const scene = await sceneOf('imp_stale', { cutover: 'auto' });
  const { source, world } = scene;
  await scene.import.run((plan) => plan.kind === 'step' && plan.step === 'fence');
  const late = await scene.import.look();
  scene.import.want(undefined);
  await scene.import.run((plan) => plan.kind === 'none');
  expect(await scene.import.perform(late)).toMatchObject({ kind: 'waiting', reason: 'Refused' });
  const application = await scene.application();
  await application.query({ text: 'DELETE FROM public.lines' });
  await application.close();
  await source.close();
  await world.close();
});

describe('what would be left out without a word', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await sceneOf('imp_hidden', { cutover: 'auto' });
  });
  afterAll(async () => {
    await scene?.world.close();
    await scene?.source.close();
  });

  it('keeps an import from beginning', async () => {
    const { source } = scene;
    await source.query({
      text: `ALTER TABLE public.lines ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY few ON public.lines USING (false); CREATE SEQUENCE public.invoices`,
    });
    const plan = async () => (await scene.import.look()).plan;
    expect(await plan()).toMatchObject({ kind: 'refuse', reason: 'SequenceHidden' });
    await source.query({ text: 'GRANT SELECT ON SEQUENCE public.invoices TO importer' });
    expect(await plan()).toMatchObject({
      kind: 'refuse',
      reason: 'RowsHidden',
      message: expect.stringContaining('table "lines"'),
    });
    const application = await scene.application();
    await expect(application.query({ text: 'SELECT FROM public.lines' })).rejects.toThrow(
      'row-level security',
    );
    await application.close();
    await source.query({ text: 'ALTER TABLE public.lines NO FORCE ROW LEVEL SECURITY' });
    expect(await plan()).toEqual({ kind: 'step', step: 'prepare' });
  });

  it('is no number: a sequence goes on after those of a column that was filled otherwise', async () => {
    await scene.source.query({
      text: `ALTER TABLE public.orders ALTER COLUMN n DROP IDENTITY; CREATE SEQUENCE public.numbers START 6000;
        GRANT ALL ON SEQUENCE public.numbers TO owner_of_old; ALTER TABLE public.orders ALTER COLUMN n SET DEFAULT nextval('public.numbers');
        INSERT INTO public.orders (customer_id, total) VALUES (1, 1)`,
    });
    await scene.import.run((plan) => plan.kind === 'none');
    const { application } = scene.world.shard(0);
    expect(
      await rows(
        application,
        'SELECT max(n)::int AS given, (SELECT last_value::int FROM public.orders_n_seq) AS last FROM public.orders',
      ),
    ).toEqual([{ given: 6000, last: 6000 }]);
  });
});
