import type { ImportRecord, ShardFacts } from '../../sharding/import/model.ts';
import { applicationSchema } from '../../sharding/names.ts';
import type { Connection } from '../connection.ts';
import { setConninfo } from '../conninfo.ts';
import { asOwner, block, raise, refusal } from '../conversion/context.ts';
import { qualified, quoteIdentifier, quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { statement } from '../statement.ts';
import { type ImportContext, inPhase, setImport } from './context.ts';
import { tablesOf } from './look.ts';
import { guardTrigger } from './schema.ts';

/** The import is known, and from the commit on nobody but its subscription writes to the tables, which are empty. */
export async function prepare(
  connection: Connection,
  { name, source }: ImportContext,
  tables: readonly string[],
  shard: ShardFacts,
): Promise<void> {
  const own = tablesOf({ tables }, shard);
  const owners = [...new Set(own.map(({ owner }) => owner))].map(quoteIdentifier).join(', ');
  await runTogether(connection, [
    `INSERT INTO herdsman.imports (name, phase, tables, source) VALUES (${quoteLiteral(name)}, 'prepared',
      ARRAY[${tables.map(quoteLiteral).join(', ')}], ${quoteLiteral(JSON.stringify(source))}::jsonb)`,
    `GRANT EXECUTE ON FUNCTION herdsman.refuse_import() TO ${owners}`,
    ...own.flatMap((table) => {
      const target = qualified(applicationSchema, table.name);
      return [
        ...asOwner(table.owner, [
          `CREATE TRIGGER ${guardTrigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ${target} FOR EACH STATEMENT
            EXECUTE FUNCTION herdsman.refuse_import()`,
        ]),
        block(
          `IF EXISTS (SELECT FROM ${target}) THEN ${raise('waiting', 'NotEmpty', `table "${table.name}" has rows on the cluster already`)} END IF;`,
        ),
      ];
    }),
  ]);
}

/** As a refusal of ours: that this shard cannot reach another server does not mean that we cannot reach this shard. */
const cannot = `RAISE EXCEPTION 'waiting:CannotSubscribe:the primary of shard s0 cannot subscribe: %', SQLERRM USING ERRCODE = '${refusal}';`;

/**
 * Copies begin. An error tells nothing of the password. Commits of rows wait for the standbys as anybody's do, since the other
 * server forgets what was confirmed.
 */
export async function subscribe(
  connection: Connection,
  { name }: ImportContext,
  conninfo: string,
  hash: string,
): Promise<void> {
  const quoted = quoteIdentifier(name);
  await connection.transaction(async () => {
    await connection.query({ text: inPhase(name, 'prepared') });
    await setConninfo(connection, conninfo);
    await connection.query({
      text: block(
        `EXECUTE format('CREATE SUBSCRIPTION ${quoted} CONNECTION %L PUBLICATION ${quoted}
          WITH (create_slot = false, slot_name = ${quoted}, copy_data = true, synchronous_commit = on, streaming = off)',
          current_setting('herdsman.conninfo'));
        EXCEPTION WHEN OTHERS THEN ${cannot}`,
      ),
    });
    await connection.query({
      text: setImport(
        name,
        'copying',
        `, connection = ${quoteLiteral(hash)}, started_at = clock_timestamp(),
          subscription = (SELECT s.oid FROM pg_subscription s WHERE s.subname = ${quoteLiteral(name)})`,
      ),
    });
  });
}

/** The subscription goes on with another address or password. */
export async function reconnect(
  connection: Connection,
  { name, source }: ImportContext,
  conninfo: string,
  hash: string,
): Promise<void> {
  await connection.transaction(async () => {
    await connection.query({ text: inPhase(name, 'copying', 'following', 'fenced') });
    await setConninfo(connection, conninfo);
    await connection.query({
      text: block(
        `EXECUTE format('ALTER SUBSCRIPTION ${quoteIdentifier(name)} CONNECTION %L', current_setting('herdsman.conninfo'));
        EXCEPTION WHEN OTHERS THEN ${cannot}`,
      ),
    });
    await connection.query(
      statement(
        'UPDATE herdsman.imports SET connection = $2, source = $3::jsonb WHERE name = $1',
        name,
        hash,
        JSON.stringify(source),
      ),
    );
  });
}

/** The commit point, all or nothing: the subscription goes, and the tables take writes. */
export async function switchOver(
  connection: Connection,
  record: ImportRecord,
  shard: ShardFacts,
): Promise<void> {
  const { name } = record;
  await runTogether(connection, [
    'SET LOCAL synchronous_commit = on',
    inPhase(name, 'verified'),
    ...dropSubscription(name),
    ...openTables(record, shard),
    setImport(name, 'switched', ', switched_at = clock_timestamp()'),
  ]);
}

/** Nothing of the import is left on the shard but its row; the tables are empty again, and take writes. */
export async function withdraw(
  connection: Connection,
  record: ImportRecord,
  shard: ShardFacts,
): Promise<void> {
  const { name } = record;
  await runTogether(connection, [
    inPhase(name, 'prepared', 'copying', 'following', 'fenced', 'verified', 'failed'),
    ...(shard.subscription === undefined ? [] : dropSubscription(name)),
    ...openTables(record, shard),
    ...emptyTables(record, shard),
    setImport(name, 'withdrawing'),
  ]);
}

/** The copies are thrown away, to be made anew. */
export async function restart(
  connection: Connection,
  record: ImportRecord,
  shard: ShardFacts,
): Promise<void> {
  const { name } = record;
  await runTogether(connection, [
    inPhase(name, 'copying', 'following', 'fenced', 'verified', 'failed'),
    ...(shard.subscription === undefined ? [] : dropSubscription(name)),
    ...guards(record, shard, 'DISABLE'),
    ...emptyTables(record, shard),
    ...guards(record, shard, 'ENABLE'),
    setImport(
      name,
      'prepared',
      ', attempt = attempt + 1, connection = NULL, failure = NULL, fence_lsn = NULL, fenced_at = NULL',
    ),
  ]);
}

/** In the transaction of the caller: without its slot, which may be out of reach. */
function dropSubscription(name: string): string[] {
  const quoted = quoteIdentifier(name);
  return [
    `ALTER SUBSCRIPTION ${quoted} DISABLE`,
    `ALTER SUBSCRIPTION ${quoted} SET (slot_name = NONE)`,
    `DROP SUBSCRIPTION ${quoted}`,
  ];
}

function openTables(record: ImportRecord, shard: ShardFacts): string[] {
  return tablesOf(record, shard).flatMap(({ name, owner }) =>
    asOwner(owner, [`DROP TRIGGER IF EXISTS ${guardTrigger} ON ${qualified(applicationSchema, name)}`]),
  );
}

function guards(record: ImportRecord, shard: ShardFacts, change: 'ENABLE' | 'DISABLE'): string[] {
  return tablesOf(record, shard).flatMap(({ name, owner }) =>
    asOwner(owner, [`ALTER TABLE ${qualified(applicationSchema, name)} ${change} TRIGGER ${guardTrigger}`]),
  );
}

function emptyTables(record: ImportRecord, shard: ShardFacts): string[] {
  const tables = tablesOf(record, shard);
  const [first] = tables;
  if (first === undefined) return [];
  const list = tables.map(({ name }) => qualified(applicationSchema, name)).join(', ');
  return asOwner(first.owner, [`TRUNCATE ${list}`]);
}
