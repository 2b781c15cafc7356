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

/** The way of large moves; that of others, and the same from a standby. */
const byServers = 'tablesync, binary, one table at once, key after';
const chosen = 'COPY under a slot, 2 streams, key after';
const fromStandby = 'COPY from a standby under a slot there, 2 streams, key after';

/** What is measured of ways to copy, and which ones moves take. */
export interface ComparedWays {
  /** Megabytes a second. */
  readonly ways: Readonly<Record<string, number>>;
  readonly chosen: string;
}

/**
 * Compares ways to copy four tables between two servers of their own, primary keys included: PostgreSQL's table synchronisation,
 * and COPY under the snapshot of a slot, on the primary or on a standby.
 */
export async function compareWays(rows: number): Promise<ComparedWays> {
  const parameters = {
    ...{ shared_buffers: '512MB', max_wal_size: '4GB', max_sync_workers_per_subscription: '4' },
    // A slot on a standby needs what it reads to stay.
    hot_standby_feedback: 'on',
  };
  const [source, target] = await Promise.all([startPostgres({ parameters }), startPostgres({ parameters })]);
  const servers = [source, target];
  const ways = new Ways(source, target);
  const found: Record<string, number> = {};
  try {
    await ways.fill(Math.round(rows / tables.length));
    const standby = await startPostgres({ parameters, standby: { name: 'standby', of: source } });
    servers.push(standby);
    const all: readonly (readonly [string, () => Promise<number>])[] = [
      ['raw COPY, key after', () => ways.copied({ streams: 1, keyFirst: false })],
      ['raw COPY, key before', () => ways.copied({ streams: 1, keyFirst: true })],
      ['tablesync, text, one table at once', () => ways.synchronised({ binary: false, atOnce: 1 })],
      ['tablesync, binary, one table at once', () => ways.synchronised({ binary: true, atOnce: 1 })],
      ['tablesync, text, four tables at once', () => ways.synchronised({ binary: false, atOnce: 4 })],
      ['tablesync, binary, four tables at once', () => ways.synchronised({ binary: true, atOnce: 4 })],
      [byServers, () => ways.synchronised({ binary: true, atOnce: 1, keyFirst: false })],
      [
        'tablesync, binary, two tables at once, key after',
        () => ways.synchronised({ binary: true, atOnce: 2, keyFirst: false }),
      ],
      [chosen, () => ways.copied({ streams: 2, keyFirst: false, slotOn: source })],
      [
        'COPY under a slot, 4 streams, key after',
        () => ways.copied({ streams: 4, keyFirst: false, slotOn: source }),
      ],
      [fromStandby, () => ways.copied({ streams: 2, keyFirst: false, slotOn: standby })],
    ];
    for (const [name, measure] of all) {
      found[name] = Math.round(Math.max(await measure(), await measure()) / 1e5) / 10;
      note(`${name}: ${found[name]} MB/s`);
    }
    return { ways: found, chosen: reasonOf(found) };
  } finally {
    await ways.close();
    await Promise.all(servers.map((server) => server.stop()));
  }
}

function reasonOf(found: Readonly<Record<string, number>>): string {
  const ofChosen = (way: string) => ((found[way] ?? 0) / (found[chosen] ?? 0)).toFixed(2);
  return (
    `From 32 MiB on: ${byServers}, ${ofChosen(byServers)} of the rate of what others take, which needs less to begin and tells why it ` +
    `fails: ${chosen}, from the primary. With more streams writers wait for the copy. From a standby it came to ` +
    `${ofChosen(fromStandby)} of that rate, and its stream goes on from the slot of the primary; but a shard of one member has none, ` +
    'a standby that ends takes the copy with it, and one that is late, or a primary with nothing to log, makes it wait.'
  );
}

/** A snapshot that ends where a stream begins; it is there until the walsender that exported it has ended. */
interface Exported {
  readonly walsender: pg.Client;
  readonly snapshot: string;
  readonly consistentPoint: string;
}

class Ways {
  readonly #source: PostgresServer;
  readonly #target: PostgresServer;
  #ends: { readonly source: pg.Client; readonly target: pg.Client } | undefined;
  #bytes = 0;

  constructor(source: PostgresServer, target: PostgresServer) {
    this.#source = source;
    this.#target = target;
  }

  async #open(server: PostgresServer, more: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({ ...(await server.connection('app')), ...more });
    await client.connect();
    return client;
  }

  async fill(rows: number): Promise<void> {
    for (const server of [this.#source, this.#target]) await server.createDatabase('app');
    const source = await this.#open(this.#source);
    this.#ends = { source, target: await this.#open(this.#target) };
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

  #sessions(): { readonly source: pg.Client; readonly target: pg.Client } {
    if (this.#ends === undefined) throw new Error('the servers are not filled');
    return this.#ends;
  }

  async #empty(keyFirst: boolean): Promise<pg.Client> {
    const { target } = this.#sessions();
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
    slotOn,
  }: {
    streams: number;
    keyFirst: boolean;
    slotOn?: PostgresServer;
  }): Promise<number> {
    const { source } = this.#sessions();
    const target = await this.#empty(keyFirst);
    const isOnStandby = slotOn !== undefined && slotOn !== this.#source;
    const began = performance.now();
    // Only a slot of the primary outlives a failover, and it cannot have a snapshot in common with another server.
    if (isOnStandby)
      await source.query("SELECT pg_create_logical_replication_slot('everything', 'pgoutput')");
    const exported = slotOn && (await this.#export(slotOn));
    if (isOnStandby) await this.#mark(true);
    const waiting = [...tables];
    await Promise.all(
      Array.from({ length: streams }, async () => {
        const [from, to] = await Promise.all([this.#open(slotOn ?? this.#source), this.#open(this.#target)]);
        await from.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
        if (exported !== undefined) await from.query(`SET TRANSACTION SNAPSHOT '${exported.snapshot}'`);
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
    await exported?.walsender.end();
    if (isOnStandby) await this.#follow(exported?.consistentPoint ?? '');
    return rate;
  }

  async #export(server: PostgresServer): Promise<Exported> {
    const { source } = this.#sessions();
    const walsender = await this.#open(server, { replication: 'database' } as pg.ClientConfig);
    const answer = walsender.query(
      `CREATE_REPLICATION_SLOT "copy" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')`,
    );
    let isMade = false;
    const made = answer.finally(() => {
      isMade = true;
    });
    // A standby learns of the transactions under way by the primary's log alone.
    while (server !== this.#source && !isMade) {
      await source.query('SELECT pg_log_standby_snapshot()');
      await Promise.race([made, sleep(20)]);
    }
    const [slot] = (await made).rows;
    return { walsender, snapshot: slot?.snapshot_name, consistentPoint: slot?.consistent_point };
  }

  /** Writes a row to each table that no snapshot has that was made before, or takes it away. */
  async #mark(isThere: boolean): Promise<void> {
    const { source } = this.#sessions();
    for (const table of tables) {
      await source.query(
        isThere ? `INSERT INTO ${table} VALUES (-1, -1)` : `DELETE FROM ${table} WHERE id = -1`,
      );
    }
  }

  /** Goes on from the slot of the primary, where the snapshot of the standby ends, until both ends have the same. */
  async #follow(consistentPoint: string): Promise<void> {
    const { source, target } = this.#sessions();
    await source.query('SELECT pg_replication_slot_advance($1, $2::pg_lsn)', ['everything', consistentPoint]);
    await this.#subscribe('create_slot = false, copy_data = false');
    const digest = tables
      .map((table) => `SELECT count(*) AS rows, sum(hashtextextended(t::text, 0)) AS hash FROM ${table} t`)
      .join(' UNION ALL ');
    const [wanted, found] = [await source.query(digest), await waitForMark(target, digest)];
    if (JSON.stringify(wanted.rows) !== JSON.stringify(found.rows)) {
      throw new Error(
        'what was copied from the standby and streamed from the primary is not what the primary has',
      );
    }
    await target.query('DROP SUBSCRIPTION everything');
    await this.#mark(false);
  }

  async #subscribe(options: string): Promise<void> {
    const { host, port, user, password } = await this.#source.connection('app');
    await this.#sessions().target.query(
      `CREATE SUBSCRIPTION everything CONNECTION 'host=${host} port=${port} user=${user} password=${password} dbname=app'
        PUBLICATION everything WITH (${options})`,
    );
  }

  async synchronised({
    binary,
    atOnce,
    keyFirst = true,
  }: {
    binary: boolean;
    atOnce: number;
    keyFirst?: boolean;
  }): Promise<number> {
    const target = await this.#empty(keyFirst);
    await target.query(`ALTER SYSTEM SET max_sync_workers_per_subscription = ${atOnce}`);
    await target.query('SELECT pg_reload_conf()');
    const began = performance.now();
    await this.#subscribe(`binary = ${binary}`);
    const keys = keyFirst ? [] : tables.map((table) => this.#keyWhenCopied(table));
    for (;;) {
      const { rows } = await target.query("SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r'");
      if (rows.length === 0) break;
      await sleep(5);
    }
    await Promise.all(keys);
    const rate = this.#rate(began);
    await target.query('DROP SUBSCRIPTION everything');
    return rate;
  }

  /** Asks for the key while the table is being copied, so that it is made before any change is applied to the copy. */
  async #keyWhenCopied(table: string): Promise<void> {
    const session = await this.#open(this.#target);
    for (;;) {
      const { rows } = await session.query(
        `SELECT FROM pg_stat_progress_copy WHERE relid = '${table}'::regclass`,
      );
      if (rows.length > 0) break;
      await sleep(5);
    }
    await session.query(`ALTER TABLE ${table} ${key}`);
    await session.end();
  }

  async close(): Promise<void> {
    await Promise.all([this.#ends?.source.end(), this.#ends?.target.end()]);
  }
}

/** Answers a query once the last row that was written before has come. */
async function waitForMark(target: pg.Client, query: string): Promise<pg.QueryResult> {
  for (;;) {
    const { rows } = await target.query(`SELECT FROM ${tables.at(-1)} WHERE id = -1`);
    if (rows.length > 0) return target.query(query);
    await sleep(5);
  }
}
