import { ensureSchema } from '../../../postgres/herdsman-schema.ts';
import { applyMigration } from '../../../postgres/migrations.ts';
import { ensureModelSchema } from '../../../postgres/read-model/schema.ts';
import { emptyColumns } from '../../../postgres/read-model/subscriber.ts';
import { ensurePasswords, planRoles, readRoles } from '../../../postgres/roles.ts';
import { scramVerifier } from '../../../postgres/scram.ts';
import { layoutOf } from '../../../sharding/layout.ts';
import { operatorName } from '../../sharded-cluster/steps/identity.ts';
import { type ModelExecution, type ModelPass, onMember, StepRefused, tell } from './context.ts';
import type { ModelMember, ModelStep } from './model.ts';
import { setUpHash } from './observe.ts';

/** Roles, database and schemas of a member, as the cluster has them. */
export async function setUp(context: ModelExecution, pass: ModelPass, member: ModelMember): Promise<void> {
  const { cluster, observation, memory } = pass;
  const { logins } = observation;
  if (logins === undefined) throw new Error('the logins of the cluster are not there yet');
  const { application, monitoring } = logins;
  const { database } = cluster.spec.postgres;
  await onMember(
    context,
    pass,
    member,
    async (connection) => {
      const plan = planRoles(
        {
          operator: operatorName,
          application: { name: application.username, verifier: scramVerifier(application.password) },
          monitoring: { name: monitoring.username, verifier: scramVerifier(monitoring.password) },
          database,
          // A superuser has granted in it what the operator needs in the database.
          template: 'template1',
        },
        await readRoles(connection),
      );
      const problem = plan.problems[0];
      if (problem !== undefined) throw new StepRefused('RolesInvalid', problem.message);
      for (const statement of plan.statements) await connection.query(statement);
    },
    'postgres',
  );
  await onMember(context, pass, member, async (connection) => {
    await ensureSchema(connection, { application: application.username, monitoring: monitoring.username });
    await ensureModelSchema(connection);
    await ensurePasswords(connection, [
      { name: application.username, password: application.password },
      { name: monitoring.username, password: monitoring.password },
    ]);
  });
  memory.setUp.set(member.replica.pod?.metadata.uid ?? '', setUpHash(logins));
}

/** Applies one migration; what PostgreSQL refuses is remembered. */
export async function migrate(
  context: ModelExecution,
  pass: ModelPass,
  member: ModelMember,
  step: Extract<ModelStep, { kind: 'migrate' }>,
): Promise<void> {
  const { access, logins } = pass.observation;
  const { name, pod } = member.replica;
  const address = pod?.status?.podIP;
  if (access === undefined || logins === undefined || address === undefined)
    throw new Error('the member cannot be reached');
  const sourceTables = pass.observation.sources.flatMap(({ facts }) =>
    facts.state === 'present' ? facts.value.tables : [],
  );
  const outcome = await context.connections.use(
    access.asApplication(address, logins.application),
    (connection) =>
      applyMigration(connection, {
        shard: name,
        migration: step.migration,
        position: step.position,
        layout: layoutOf([]),
        onModel: { sql: step.replacement },
        async beforeCommit() {
          for (const text of emptyColumns(pass.tables, sourceTables)) await connection.query({ text });
        },
      }),
  );
  if (outcome.kind === 'busy' || outcome.kind === 'unknown') throw new Error(outcome.message);
  if (outcome.kind !== 'failed') {
    pass.memory.failed.delete(name);
    const note = `member ${name} has applied migration "${step.migration.name}"`;
    return tell(context, pass, 'Normal', 'MigrationApplied', note);
  }
  const hadRows = step.hasRows && !step.own;
  pass.memory.failed.set(name, {
    name: step.migration.name,
    sql: step.replacement ?? step.migration.sql,
    message: outcome.message,
    hadRows,
  });
  if (!hadRows) tell(context, pass, 'Warning', 'MigrationFailed', outcome.message);
}
