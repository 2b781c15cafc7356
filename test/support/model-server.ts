import { type Connection, connect } from '../../src/postgres/connection.ts';
import { ensureSchema } from '../../src/postgres/herdsman-schema.ts';
import { applyMigration, type MigrationOutcome } from '../../src/postgres/migrations.ts';
import { definitionOf, type ModelTable, tablesOfShard } from '../../src/postgres/read-model/definition.ts';
import { copyName, publicationName } from '../../src/postgres/read-model/names.ts';
import { grantCopy, makeSlot, publish, readSource } from '../../src/postgres/read-model/publisher.ts';
import { ensureModelSchema, grantedFunction } from '../../src/postgres/read-model/schema.ts';
import {
  beginCopy,
  type ModelFacts,
  readModel,
  subscribe,
} from '../../src/postgres/read-model/subscriber.ts';
import { applyRoles, ensurePasswords, planRoles, readRoles } from '../../src/postgres/roles.ts';
import { scramVerifier } from '../../src/postgres/scram.ts';
import { layoutOf } from '../../src/sharding/layout.ts';
import type { MoveShards } from './move-world.ts';
import { startPostgres } from './postgres-server.ts';
import { waitFor } from './wait.ts';

const application = 'app';
const password = 'an application';
const set = 'reports';

/** A server that follows shards, as the operator makes one. */
export interface ModelServer {
  readonly operator: Connection;
  /** A session as the application. */
  connectApplication(): Promise<Connection>;
  /** Applies a migration as the operator does: what it does to rows comes with the streams. */
  migrate(name: string, sql: string, position: number): Promise<MigrationOutcome>;
  /** Begins a copy of the tables from all shards; answers its name. */
  copy(shards: MoveShards, names: readonly string[], tables: readonly ModelTable[]): Promise<string>;
  /** Follows one more shard. */
  follow(
    shards: MoveShards,
    shard: string,
    tables: readonly ModelTable[],
    copy: string,
    copyData: boolean,
  ): Promise<void>;
  /** Waits until the server says what is wanted. */
  until(description: string, holds: (facts: ModelFacts) => boolean): Promise<ModelFacts>;
  stop(): Promise<void>;
}

/** Starts one, with the tables that the SQL makes. */
export async function startModel(sql: string): Promise<ModelServer> {
  const server = await startPostgres();
  const open = (user: string, secret: string, database = 'app') =>
    connect({ host: server.host, port: server.port, database, user, password: secret, tls: 'off' });
  // As the members of a read model do when they are initialised.
  const superuser = await open('postgres', server.password, 'template1');
  await superuser.query({ text: `GRANT EXECUTE ON FUNCTION ${grantedFunction} TO herdsman` });
  await superuser.close();
  const maintenance = await open('herdsman', server.password, 'postgres');
  const roles = {
    operator: 'herdsman',
    database: 'app',
    template: 'template1',
    application: { name: application, verifier: scramVerifier(password) },
    monitoring: { name: 'monitoring', verifier: scramVerifier(password) },
  };
  await applyRoles(maintenance, planRoles(roles, await readRoles(maintenance)));
  await maintenance.close();
  const operator = await open('herdsman', server.password);
  await ensureSchema(operator, { application, monitoring: 'monitoring' });
  await ensurePasswords(operator, [{ name: application, password }]);
  await ensureModelSchema(operator);
  let copies = 0;
  const model: ModelServer = {
    operator,
    connectApplication: () => open(application, password),
    async migrate(name, text, position) {
      const session = await open(application, password);
      try {
        return await applyMigration(session, {
          shard: 'model',
          migration: { name, sql: text },
          position,
          layout: layoutOf([]),
          onModel: { sql: undefined },
        });
      } finally {
        await session.close();
      }
    },
    async copy(shards, names, tables) {
      copies += 1;
      const copy = copyName(set, 0, copies.toString(16).padStart(6, '0'));
      const first = await shards.connectOperator('s0');
      const { tables: sources } = await readSource(
        first,
        tables.map(({ name }) => name),
      );
      await first.close();
      await beginCopy(operator, copy, definitionOf(tables), tables, sources, {});
      for (const shard of names) await model.follow(shards, shard, tables, copy, true);
      return copy;
    },
    async follow(shards, shard, tables, copy, copyData) {
      const session = await shards.connectOperator(shard);
      const wanted = tablesOfShard(tables, shard);
      const publication = publicationName(set, definitionOf(tables));
      const facts = await readSource(
        session,
        tables.map(({ name }) => name),
      );
      const published = await publish(session, publication, wanted, facts.tables);
      if (published.kind !== 'done') throw new Error(published.message);
      await grantCopy(session, copy, 'a stream', wanted, facts.tables);
      await makeSlot(session, copy);
      await session.close();
      const address = await shards.sourceAddress(shard, shard);
      const source = {
        shard,
        member: shard,
        timeline: facts.timeline,
        address,
        password: 'a stream',
      };
      await subscribe(operator, copy, publication, source, copyData);
    },
    until: (description, holds) =>
      waitFor(description, async () => {
        const facts = await readModel(operator);
        return holds(facts) ? { done: facts } : { state: facts };
      }),
    async stop() {
      if (process.env.DEBUG_MODEL) process.stdout.write(server.log().slice(-6000));
      await operator.close();
      await server.stop();
    },
  };
  const outcome = await model.migrate('1', sql, 1);
  if (outcome.kind !== 'applied') throw new Error(JSON.stringify(outcome));
  return model;
}
