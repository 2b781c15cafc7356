import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { note } from './report.ts';

/** Pipes a COPY into another, with no more than both ends need. */
export async function pipeCopy(
  source: pg.Client,
  target: pg.Client,
  from: string,
  to: string,
): Promise<void> {
  await pipeline(source.query(copyTo(from, { highWaterMark: 262_144 })), target.query(copyFrom(to)));
}

const tables = ['a', 'b', 'c', 'd'];
const columns = '(customer_id int NOT NULL, id int NOT NULL, amount int, note text)';
const key = 'ADD PRIMARY KEY (customer_id, id)';

/**
 * Megabytes a second of ways to copy four tables between two servers of their own, primary keys included: PostgreSQL's table
 * synchronisation, and COPY under the snapshot of a slot.
 */
export async function compareWays(rows: number): Promise<Record<string, number>> {
  const parameters = { shared_buffers: '512MB', max_wal_size: '4GB', max_sync_workers_per_subscription: '4' };
  const servers = await Promise.all([startPostgres({ parameters }), startPostgres({ parameters })]);
  const [source, target] = servers;
  const ways = new Ways(source, target);
  const found: Record<string, number> = {};
  try {
    await ways.fill(Math.round(rows / tables.length));
    const all: readonly (readonly [string, () => Promise<number>])[] = [
      ['raw COPY, key after', () => ways.copied({ streams: 1, keyFirst: false })],
      ['raw COPY, key before', () => ways.copied({ streams: 1, keyFirst: true })],
      ['tablesync, text, one table at once', () => ways.synchronised({ binary: false, atOnce: 1 })],
      ['tablesync, binary, one table at once', () => ways.synchronised({ binary: true, atOnce: 1 })],
      ['tablesync, text, four tables at once', () => ways.synchronised({ binary: false, atOnce: 4 })],
      ['tablesync, binary, four tables at once', () => ways.synchronised({ binary: true, atOnce: 4 })],
      [
        'COPY under a slot, 2 streams, key after',
        () => ways.copied({ streams: 2, keyFirst: false, slot: true }),
      ],
      [
        'COPY under a slot, 4 streams, key after',
        () => ways.copied({ streams: 4, keyFirst: false, slot: true }),
      ],
    ];
    for (const [name, measure] of all) {
      found[name] = Math.round(Math.max(await measure(), await measure()) / 1e5) / 10;
      note(`${name}: ${found[name]} MB/s`);
    }
    return found;
  } finally {
    await ways.close();
    await Promise.all(servers.map((server) => server.stop()));
  }
}

class Ways {
  readonly #servers: readonly [PostgresServer, PostgresServer];
  #source: pg.Client | undefined;
  #target: pg.Client | undefined;
  #bytes = 0;

  constructor(source: PostgresServer, target: PostgresServer) {
    this.#servers = [source, target];
  }

  async #open(side: 0 | 1, more: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({ ...(await this.#servers[side].connection('app')), ...more });
    await client.connect();
    return client;
  }

  async fill(rows: number): Promise<void> {
    for (const server of this.#servers) await server.createDatabase('app');
    const source = await this.#open(0);
    this.#source = source;
    this.#target = await this.#open(1);
    for (const table of tables) {
      await source.query(`CREATE TABLE ${table} ${columns}`);
      await source.query(
        `INSERT INTO ${table} SELECT n % 1000, n, n, repeat(md5(n::text), 6) FROM generate_series(1, ${rows}) n`,
      );
      await source.query(`ALTER TABLE ${table} ${key}`);
      const { rows: size } = await source.query(`SELECT pg_table_size('${table}') AS bytes`);
      this.#bytes += Number(size[0]?.bytes);
    }
    await source.query(`CREATE PUBLICATION everything FOR TABLE ${tables.join(', ')}`);
    await source.query('CHECKPOINT');
  }

  async #empty(keyFirst: boolean): Promise<pg.Client> {
    const target = this.#target;
    if (target === undefined) throw new Error('the servers are not filled');
    for (const table of tables) {
      await target.query(`DROP TABLE IF EXISTS ${table}`);
      await target.query(`CREATE TABLE ${table} ${columns}`);
      if (keyFirst) await target.query(`ALTER TABLE ${table} ${key}`);
    }
    await target.query('CHECKPOINT');
    return target;
  }

  #rate(began: number): number {
    return this.#bytes / ((performance.now() - began) / 1000);
  }

  async copied({
    streams,
    keyFirst,
    slot = false,
  }: {
    streams: number;
    keyFirst: boolean;
    slot?: boolean;
  }): Promise<number> {
    const target = await this.#empty(keyFirst);
    const began = performance.now();
    let snapshot = '';
    const walsender = slot ? await this.#open(0, { replication: 'database' } as pg.ClientConfig) : undefined;
    if (walsender !== undefined) {
      const { rows } = await walsender.query(
        `CREATE_REPLICATION_SLOT "copy" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`,
      );
      snapshot = rows[0]?.snapshot_name;
    }
    const waiting = [...tables];
    await Promise.all(
      Array.from({ length: streams }, async () => {
        const [from, to] = await Promise.all([this.#open(0), this.#open(1)]);
        await from.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
        if (snapshot !== '') await from.query(`SET TRANSACTION SNAPSHOT '${snapshot}'`);
        for (let table = waiting.shift(); table !== undefined; table = waiting.shift()) {
          await pipeCopy(
            from,
            to,
            `COPY ${table} TO STDOUT (FORMAT binary)`,
            `COPY ${table} FROM STDIN (FORMAT binary)`,
          );
        }
        await Promise.all([from.end(), to.end()]);
      }),
    );
    if (!keyFirst) for (const table of tables) await target.query(`ALTER TABLE ${table} ${key}`);
    const rate = this.#rate(began);
    await walsender?.end();
    return rate;
  }

  async synchronised({ binary, atOnce }: { binary: boolean; atOnce: number }): Promise<number> {
    const target = await this.#empty(true);
    await target.query(`ALTER SYSTEM SET max_sync_workers_per_subscription = ${atOnce}`);
    await target.query('SELECT pg_reload_conf()');
    const { host, port, user, password } = await this.#servers[0].connection('app');
    const began = performance.now();
    await target.query(
      `CREATE SUBSCRIPTION everything CONNECTION 'host=${host} port=${port} user=${user} password=${password} dbname=app'
        PUBLICATION everything WITH (binary = ${binary})`,
    );
    for (;;) {
      const { rows } = await target.query("SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r'");
      if (rows.length === 0) break;
      await sleep(5);
    }
    const rate = this.#rate(began);
    await target.query('DROP SUBSCRIPTION everything');
    return rate;
  }

  async close(): Promise<void> {
    await Promise.all([this.#source?.end(), this.#target?.end()]);
  }
}
