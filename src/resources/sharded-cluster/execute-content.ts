import { applyBatches } from '../../postgres/catalog.ts';
import type { Connection } from '../../postgres/connection.ts';
import { ensureSchema } from '../../postgres/herdsman-schema.ts';
import { applyMigration, type MigrationOutcome } from '../../postgres/migrations.ts';
import { UnreachableError } from '../../postgres/postgres-error.ts';
import { isHeldByPublication, releaseColumns } from '../../postgres/read-model/release.ts';
import { copyReferenceTables } from '../../postgres/reference-copy.ts';
import { ensurePasswords, planRoles, readRoles } from '../../postgres/roles.ts';
import { scramVerifier } from '../../postgres/scram.ts';
import { pause, systemClock } from '../../runtime/clock.ts';
import { layoutOf } from '../../sharding/layout.ts';
import { BrokenBarrier, createBarrier } from './barrier.ts';
import type { Login } from './desired/credentials.ts';
import type { ExecutionContext, Pass } from './execute.ts';
import { addressOf } from './execute-members.ts';
import type { Piece } from './long-work.ts';
import { MigrationError } from './migration-error.ts';
import type { Action } from './model.ts';
import { loginOf, operatorName } from './steps/identity.ts';

type MigrateAction = Extract<Action, { kind: 'migrate' }>;
/** `withdrawn`: it was rolled back because another shard could not take it. */
type SettledMigration = MigrationOutcome | { readonly kind: 'withdrawn' };

type ContentAction = Extract<Action, { kind: 'set-up-database' | 'migrate' | 'sql' | 'copy-references' }>;

/** Does what concerns the inside of the databases. */
export async function executeContent(
  context: ExecutionContext,
  pass: Pass,
  action: ContentAction,
): Promise<void> {
  switch (action.kind) {
    case 'set-up-database':
      return setUpDatabase(context, pass, action.shard);
    case 'migrate': {
      const what = `migration "${action.migration.name}"`;
      // A copy that runs has a snapshot of tables that a migration may change.
      const piece = { line: 'migrate', what, isAlone: true };
      return atLength(pass, action, piece, (begun) => migrate(context, begun, action));
    }
    case 'sql':
      return asOperator(context, pass, action.shard, (connection) =>
        applyBatches(connection, action.batches),
      );
    case 'copy-references': {
      const what = `the copy of reference tables to shard ${action.to}`;
      return atLength(pass, action, { line: what, what }, (begun) => copyReferences(context, begun, action));
    }
  }
}

/** Its time limit is not that of the pass that begins it. */
function atLength(
  pass: Pass,
  action: ContentAction,
  named: Omit<Piece, 'identity'>,
  work: (begun: Pass) => Promise<void>,
): Promise<void> {
  const piece = { ...named, identity: JSON.stringify(action) };
  return pass.longWork.run(piece, () => work({ ...pass, signal: pass.leading }));
}

/** As the application: its triggers and defaults run on the way. */
async function copyReferences(
  context: ExecutionContext,
  pass: Pass,
  { tables, from, to, replace, isFirst = false }: Extract<Action, { kind: 'copy-references' }>,
): Promise<void> {
  const { access } = pass;
  if (access === undefined) throw new Error("the operator's certificate is not there yet");
  const login = requiredLogin(pass, 'application');
  const at = (shard: string) => access.asApplication(shard, addressOf(pass, shard, undefined), login);
  const { leading } = pass;
  const copied = await context.connections.use(
    at(from),
    (source) =>
      context.connections.use(
        at(to),
        (target) =>
          copyReferenceTables(source, target, tables, { replace: replace ? tables : [], lock: isFirst }),
        leading,
      ),
    leading,
  );
  const rows = copied.map((table) => `${table.rows} rows of "${table.table}"`).join(', ');
  record(
    context,
    pass,
    'Normal',
    'ReferenceTablesCopied',
    'Copy',
    `${rows} went from shard ${from} to ${to}`,
  );
}

/** Roles first, in `postgres`; then Herdsman's schemas and the passwords, in the application database. */
async function setUpDatabase(context: ExecutionContext, pass: Pass, shard: string): Promise<void> {
  const { cluster } = pass;
  const application = requiredLogin(pass, 'application');
  const monitoring = requiredLogin(pass, 'monitoring');
  await asOperator(
    context,
    pass,
    shard,
    async (connection) => {
      const spec = {
        operator: operatorName,
        application: { name: application.username, verifier: scramVerifier(application.password) },
        monitoring: { name: monitoring.username, verifier: scramVerifier(monitoring.password) },
        database: cluster.spec.postgres.database,
      };
      const plan = planRoles(spec, await readRoles(connection));
      const problem = plan.problems[0];
      if (problem !== undefined) throw new Error(`shard ${shard}: ${problem.message}`);
      for (const statement of plan.statements) await connection.query(statement);
    },
    'postgres',
  );
  await asOperator(context, pass, shard, async (connection) => {
    await ensureSchema(connection, { application: application.username, monitoring: monitoring.username });
    const changed = await ensurePasswords(connection, [
      { name: application.username, password: application.password },
      { name: monitoring.username, password: monitoring.password },
    ]);
    if (changed.length > 0) {
      record(
        context,
        pass,
        'Normal',
        'PasswordsSet',
        'SetPassword',
        `shard ${shard}: passwords of ${changed.join(', ')}`,
      );
    }
  });
  pass.noteSetUp(shard);
}

/** Tries of a migration that finds its locks taken, before the pass gives way to another. */
const migrationAttempts = 4;

/** On all shards at once: each commits only when all have done everything but the commit, so that all have it or none. */
async function migrate(context: ExecutionContext, pass: Pass, action: MigrateAction): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const outcomes = await tryMigration(context, pass, action);
    const failed = outcomes.find((outcome) => outcome.kind === 'failed');
    // A read model gives way: it copies again, without what the migration takes away.
    if (failed !== undefined && attempt === 1 && isHeldByPublication(failed)) {
      for (const shard of action.shards) await asOperator(context, pass, shard, releaseColumns);
      continue;
    }
    if (failed !== undefined) throw new MigrationError(true, failed.message);
    const open = outcomes.find((outcome) => outcome.kind === 'busy' || outcome.kind === 'unknown');
    if (open === undefined) break;
    if (open.kind === 'unknown' || attempt === migrationAttempts)
      throw new MigrationError(false, open.message);
    await pause(systemClock, 250 * 2 ** attempt, pass.signal);
    pass.signal.throwIfAborted();
  }
  const note = `migration "${action.migration.name}" was applied on ${action.shards.join(', ')}`;
  record(context, pass, 'Normal', 'MigrationApplied', 'Migrate', note);
}

async function tryMigration(
  context: ExecutionContext,
  pass: Pass,
  { migration, position, shards }: MigrateAction,
): Promise<SettledMigration[]> {
  const { access, cluster } = pass;
  if (access === undefined) throw new Error("the operator's certificate is not there yet");
  const login = requiredLogin(pass, 'application');
  const layout = layoutOf(cluster.spec.tables);
  const barrier = createBarrier(shards.length);
  return Promise.all(
    shards.map(async (shard): Promise<SettledMigration> => {
      const options = access.asApplication(shard, addressOf(pass, shard, undefined), login);
      const input = { shard, migration, position, layout, attempts: 1, beforeCommit: barrier.arrive };
      try {
        // Without leadership another may be at it, which must not wait for locks of ours.
        const outcome = await context.connections.use(
          options,
          (connection) => applyMigration(connection, input),
          pass.leading,
        );
        if (outcome.kind === 'already') barrier.pass();
        else if (outcome.kind !== 'applied') barrier.break(outcome.kind);
        return outcome;
      } catch (error) {
        if (error instanceof BrokenBarrier) return { kind: 'withdrawn' };
        barrier.break(error);
        if (error instanceof UnreachableError)
          return { kind: 'unknown', message: `shard ${shard}: ${error.message}` };
        throw error;
      }
    }),
  );
}

function requiredLogin(pass: Pass, role: 'application' | 'monitoring'): Login {
  const login = loginOf(pass.cluster, pass.observed.secrets, role);
  if (typeof login === 'string')
    throw new Error(login === 'absent' ? `the ${role} login is not there yet` : login);
  return login;
}

async function asOperator<T>(
  context: ExecutionContext,
  pass: Pass,
  shard: string,
  work: (connection: Connection) => Promise<T>,
  database = pass.cluster.spec.postgres.database,
): Promise<T> {
  if (pass.access === undefined) throw new Error("the operator's certificate is not there yet");
  const options = pass.access.asOperator(shard, addressOf(pass, shard, undefined), database);
  return context.connections.use(options, work, pass.leading);
}

function record(
  context: ExecutionContext,
  pass: Pass,
  type: 'Normal' | 'Warning',
  reason: string,
  action: string,
  note: string,
): void {
  context.events.record(pass.cluster, { type, reason, action, note });
}
