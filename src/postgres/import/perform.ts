import type { ImportRecord, ShardFacts, SourceFacts } from '../../sharding/import/model.ts';
import type { ImportStepKind } from '../../sharding/import/plan.ts';
import { importedTables } from '../../sharding/import/problems.ts';
import { done, type ConversionStep as ImportStep, refusable } from '../conversion/context.ts';
import { quoteLiteral } from '../identifier.ts';
import { runTogether } from '../run-together.ts';
import { connectionHash, type ImportContext, inPhase, setImport, sourceConninfo } from './context.ts';
import { advanceSequences } from './sequences.ts';
import { prepare, reconnect, restart, subscribe, switchOver, withdraw } from './shard.ts';
import { dropFence, fence, keepFence, publish, release, unfence } from './source.ts';
import { compareTables } from './verify.ts';

/** What a step was decided on; `source` is not known when it is of no use to the step. */
export interface ImportFacts {
  readonly shard: ShardFacts;
  readonly source: SourceFacts | undefined;
}

/** Does one step. Each may be done again after a crash at any point of it. */
export async function performImportStep(
  context: ImportContext,
  step: ImportStepKind,
  { shard, source }: ImportFacts,
): Promise<ImportStep> {
  return refusable(async () => {
    if (source !== undefined && step === 'prepare') {
      const tables = importedTables(context.source, source);
      await context.useShard((connection) => prepare(connection, context, tables, shard));
      return done;
    }
    const { record } = shard;
    if (record === undefined)
      return { kind: 'waiting', reason: 'Overtaken', message: 'the shard knows no such import' };
    return performKnown(context, step, record, { shard, source });
  });
}

async function performKnown(
  context: ImportContext,
  step: ImportStepKind,
  record: ImportRecord,
  { shard, source }: ImportFacts,
): Promise<ImportStep> {
  const { name } = context;
  const { tables, subscription } = record;
  const fenceToken = source?.fenceToken ?? null;
  const conninfo = sourceConninfo(context.source, context.login, name);
  const hash = connectionHash(conninfo);
  const onShard = (...statements: string[]) =>
    context.useShard((connection) => runTogether(connection, statements));
  switch (step) {
    case 'prepare':
      break;
    case 'publish':
      // A slot waits for every transaction that runs when it is made.
      await context.useSource((connection) => publish(connection, name, tables, subscription), true);
      await onShard(
        inPhase(name, 'prepared'),
        setImport(
          name,
          'prepared',
          `, connection = ${quoteLiteral(hash)}, source = ${quoteLiteral(JSON.stringify(context.source))}::jsonb`,
        ),
      );
      break;
    case 'subscribe':
      await context.useShard((connection) => subscribe(connection, context, conninfo, hash));
      break;
    case 'reconnect':
      await context.useShard((connection) => reconnect(connection, context, conninfo, hash));
      break;
    case 'follow':
      await onShard(inPhase(name, 'copying'), setImport(name, 'following'));
      break;
    case 'fence':
      await fenceBoth(context, tables, onShard);
      break;
    case 'verify':
      return source === undefined ? done : verify(context, record, { shard, source }, onShard);
    case 'switch':
      await context.useShard((connection) => switchOver(connection, record, shard));
      break;
    case 'unfence':
      await context.useSource((connection) => unfence(connection, name, fenceToken));
      if (record.phase === 'fenced')
        // One that was lost says nothing against another.
        await onShard(
          inPhase(name, 'fenced'),
          setImport(
            name,
            'following',
            `, fence_lsn = NULL${source?.isFenced === true ? '' : ', fenced_at = NULL'}`,
          ),
        );
      break;
    case 'restart':
      await context.useSource((connection) => unfence(connection, name, fenceToken));
      await context.useShard((connection) => restart(connection, record, shard));
      break;
    case 'withdraw':
      await context.useShard((connection) => withdraw(connection, record, shard));
      break;
    case 'release':
      return finish(context, record, onShard);
    case 'forget':
      await onShard(inPhase(name, 'done'), `DELETE FROM herdsman.imports WHERE name = ${quoteLiteral(name)}`);
      break;
  }
  return done;
}

type OnShard = (...statements: string[]) => Promise<void>;

/** The shard's note comes after the fence: an operator that dies between finds the fence, and goes on or takes it away. */
async function fenceBoth(
  { name, destination, useSource }: ImportContext,
  tables: readonly string[],
  onShard: OnShard,
): Promise<void> {
  const lsn = await useSource((connection) => fence(connection, name, tables, destination));
  await onShard(
    inPhase(name, 'following'),
    setImport(name, 'fenced', `, fenced_at = clock_timestamp(), fence_lsn = ${quoteLiteral(lsn)}`),
  );
}

/** Rows that differ let the server take writes again: somebody has to say what comes next. */
async function verify(
  context: ImportContext,
  record: ImportRecord,
  { shard, source }: { readonly shard: ShardFacts; readonly source: SourceFacts },
  onShard: OnShard,
): Promise<ImportStep> {
  const { name } = context;
  await context.useSource((connection) => keepFence(connection, name, source.fenceToken));
  const difference = await compareTables(context, record.tables, source, shard);
  if (difference !== undefined) {
    await onShard(
      inPhase(name, 'fenced'),
      setImport(name, 'failed', `, failure = ${quoteLiteral(difference)}`),
    );
    return { kind: 'changed', reason: 'VerificationFailed', message: difference };
  }
  await advanceSequences(context, record, shard);
  await onShard(inPhase(name, 'fenced'), setImport(name, 'verified'));
  return done;
}

/** Nothing is left at the server, but for the refusal of writes where the cluster has taken over. */
async function finish(
  { name, useSource }: ImportContext,
  { phase, subscription }: ImportRecord,
  onShard: OnShard,
): Promise<ImportStep> {
  const isGivenUp = phase === 'withdrawing';
  if (isGivenUp) await useSource((connection) => dropFence(connection, name));
  const released = await useSource((connection) => release(connection, name, subscription));
  if (released.kind !== 'done') return released;
  // One that was made meanwhile, by who was held up; without the publication there comes no other.
  if (isGivenUp) await useSource((connection) => dropFence(connection, name));
  if (phase === 'switched') await onShard(inPhase(name, 'switched'), setImport(name, 'done'));
  else {
    await onShard(
      inPhase(name, 'withdrawing'),
      `DELETE FROM herdsman.imports WHERE name = ${quoteLiteral(name)}`,
    );
  }
  return done;
}
