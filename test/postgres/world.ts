import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { Table } from '../../src/api/v1alpha1/table.ts';
import { applyBatches, readCatalog, readLedger } from '../../src/postgres/catalog.ts';
import { type Connection, type ConnectOptions, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { planMigrations, type ResolvedMigration } from '../../src/postgres/migration-plan.ts';
import { applyMigration, type MigrationOutcome } from '../../src/postgres/migrations.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { type Layout, layoutOf } from '../../src/sharding/layout.ts';
import { type LeavesPlan, planLeaves } from '../../src/sharding/leaves.ts';
import { initialMap } from '../../src/sharding/map.ts';
import { sharedPostgres } from '../support/shared-postgres.ts';

/** A database that acts as a shard, made as the operator makes one. */
export interface TestShard {
  readonly name: string;
  readonly database: string;
  /** As the operator, superuser of nothing. */
  readonly operator: Connection;
  /** As the application. */
  readonly application: Connection;
}

/** Some shards of one cluster, on the shared server. */
export interface World {
  readonly shards: readonly TestShard[];
  readonly application: string;
  readonly monitoring: string;
  readonly password: string;
  shard(index: number): TestShard;
  close(): Promise<void>;
}

/** Opens a session on the shared server. */
export function open(
  user: string,
  password: string,
  database: string,
  options: Pick<ConnectOptions, 'applicationName'> = {},
): Promise<Connection> {
  const { host, port } = sharedPostgres();
  return connect({
    host,
    port,
    database,
    user,
    password,
    tls: 'off',
    statementTimeoutMs: 60_000,
    ...options,
  });
}

/** Opens a session as the operator: its password is the superuser's on a server without TLS. */
export function openOperator(database: string): Promise<Connection> {
  return open('herdsman', sharedPostgres().password, database);
}

/** Makes shards `s0`, `s1`, … as databases with roles, schemas and passwords. */
export async function makeWorld(name: string, count: number): Promise<World> {
  const application = `${name}_app`;
  const monitoring = `${name}_monitoring`;
  const password = `secret of ${name}`;
  const shards: TestShard[] = [];
  const maintenance = await openOperator('postgres');
  for (let index = 0; index < count; index += 1) {
    const database = `${name}_s${index}`;
    const spec = {
      operator: 'herdsman',
      database,
      application: { name: application, verifier: scramVerifier(password) },
      monitoring: { name: monitoring, verifier: scramVerifier(password) },
    };
    await applyRoles(maintenance, planRoles(spec, await readRoles(maintenance)));
    const operator = await openOperator(database);
    await ensureSchema(operator, { application, monitoring });
    await ensurePasswords(operator, [{ name: application, password }]);
    shards.push({
      name: `s${index}`,
      database,
      operator,
      application: await open(application, password, database),
    });
  }
  await maintenance.close();
  return {
    shards,
    application,
    monitoring,
    password,
    shard(index) {
      const found = shards[index];
      if (found === undefined) throw new Error(`no shard ${index}`);
      return found;
    },
    async close() {
      await Promise.all(shards.flatMap((shard) => [shard.operator.close(), shard.application.close()]));
    },
  };
}

/** Applies migrations until one does not succeed or all are there. */
export async function migrate(
  shard: TestShard,
  migrations: readonly ResolvedMigration[],
  layout: Layout,
): Promise<MigrationOutcome | undefined> {
  for (;;) {
    const plan = planMigrations(migrations, await readLedger(shard.operator));
    if (plan.kind === 'done') return undefined;
    if (plan.kind !== 'apply') return { kind: 'failed', message: plan.message };
    const { migration, position } = plan;
    const outcome = await applyMigration(shard.application, {
      shard: shard.name,
      migration,
      position,
      layout,
    });
    if (outcome.kind !== 'applied') return outcome;
  }
}

/** Where clients find the shards. */
export function endpointsOf(world: World) {
  return Object.fromEntries(
    world.shards.map((shard) => [
      shard.name,
      { host: `${shard.name}.test`, port: 5432, dbname: shard.database },
    ]),
  );
}

/** Plans one shard's leaves as they are now. */
export async function leavesOf(
  world: World,
  shard: TestShard,
  map: ShardMapSpec,
  layout: Layout,
): Promise<LeavesPlan> {
  const catalog = await readCatalog(shard.operator);
  const shardIndex = world.shards.indexOf(shard);
  return planLeaves({ shard: shard.name, shardIndex, map, layout, catalog, endpoints: endpointsOf(world) });
}

/** Migrations, map and leaves of a new cluster, on all shards. */
export async function build(
  world: World,
  sql: string,
  tables: readonly Table[],
  zones: readonly string[] = [],
) {
  const layout = layoutOf(tables);
  const shards = world.shards.map(({ name }, index) => ({ name, zone: zones[index % zones.length] }));
  const map = initialMap('test', layout, shards);
  for (const shard of world.shards) {
    const failed = await migrate(shard, [{ name: '001', sql }], layout);
    if (failed !== undefined) throw new Error(JSON.stringify(failed));
    const plan = await leavesOf(world, shard, map, layout);
    await applyBatches(shard.operator, plan.batches);
  }
  return { layout, map };
}

/** Rows of a query. */
export function rows<Row extends object>(
  connection: Connection,
  text: string,
  ...values: unknown[]
): Promise<Row[]> {
  return connection.query<Row>(values.length === 0 ? { text } : { text, values });
}
