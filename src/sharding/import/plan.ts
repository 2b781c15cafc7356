import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { Volume } from '../room.ts';
import { bytesBetween, hasReached, type ImportRecord, type ShardFacts, type SourceFacts } from './model.ts';
import { importedTables, importProblems, tableProblems, volumeProblems } from './problems.ts';

/** What the next step of an import is decided on. */
export interface ImportView {
  /** `spec.bootstrap.import`; `undefined` when it was removed, or the cluster is deleted. */
  readonly wanted: ImportSpec | undefined;
  /** `undefined` when the shard has not answered. */
  readonly shard: ShardFacts | undefined;
  readonly source:
    | { readonly state: 'known'; readonly facts: SourceFacts }
    | { readonly state: 'unknown'; readonly reason: string; readonly message: string };
  /** Hash of how the subscription is to connect. */
  readonly connection: string;
  /** That of the shard. */
  readonly volume: Volume;
  readonly nowMs: number;
}

/** Steps of an import, in their usual order; then those that take something back. */
export type ImportStepKind =
  | 'prepare'
  | 'publish'
  | 'subscribe'
  | 'reconnect'
  | 'follow'
  | 'fence'
  | 'verify'
  | 'switch'
  | 'release'
  | 'unfence'
  | 'restart'
  | 'withdraw'
  | 'forget';

/** What is to be done about an import. */
export type ImportPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'step'; readonly step: ImportStepKind; readonly why?: string }
  | { readonly kind: 'wait' | 'refuse'; readonly reason: string; readonly message: string };

/** Behind by more, the writers would be held up for too long. */
export const maxLagBytes = 1_048_576;
/** How long a fenced server may wait for what was written before. */
export const drainMs = 30_000;

/** After a fence that was of no use, writers are left alone for so long. */
const retryMs = 300_000;

/** Decides the next step. */
export function planImport(view: ImportView): ImportPlan {
  const { shard, wanted } = view;
  if (shard === undefined) return wait('PrimaryUnknown', 'shard s0 has no primary that is ready');
  const { record } = shard;
  if (record === undefined) {
    if (wanted === undefined) return { kind: 'none' };
    return begin(view, wanted, shard);
  }
  if (record.phase === 'done') return wanted === undefined ? step('forget') : { kind: 'none' };
  if (record.phase === 'withdrawing' || record.phase === 'switched') {
    if (view.source.state === 'known') return step('release');
    return wait('LeftBehind', `${view.source.message}; ${leftover(record)}`);
  }
  if (wanted === undefined) return step('withdraw');
  return goOn(view, wanted, shard, record);
}

const fenceGone = 'the server takes writes again: what kept them out is gone';

function begin(view: ImportView, wanted: ImportSpec, { tables, databaseBytes }: ShardFacts): ImportPlan {
  const { source, volume } = view;
  if (source.state === 'unknown') return { ...source, kind: 'refuse' };
  const { facts } = source;
  const problems = importProblems(wanted, facts, tables);
  if (problems.length === 0)
    problems.push(...volumeProblems(importedTables(wanted, facts), facts, { volume, databaseBytes }));
  const [first] = problems;
  if (first === undefined) return step('prepare');
  return { kind: 'refuse', reason: first.code, message: problems.map(({ message }) => message).join('; ') };
}

function goOn(view: ImportView, wanted: ImportSpec, shard: ShardFacts, record: ImportRecord): ImportPlan {
  const { phase } = record;
  if (phase === 'verified') {
    // A server that has lost its fence, as by a failover, has taken writes. From one that is silent nothing more can be had.
    if (view.source.state === 'known' && !view.source.facts.isFenced) return step('restart', fenceGone);
    return step('switch');
  }
  if (view.source.state === 'unknown') return { ...view.source, kind: 'wait' };
  const { facts } = view.source;
  if (phase === 'failed') {
    if (facts.isFenced) return step('unfence');
    if (wanted.cutover === 'manual') return step('restart', record.failure ?? 'rows differed');
    const message = `${record.failure}; write "cutover: manual" to copy again`;
    return { kind: 'refuse', reason: 'VerificationFailed', message };
  }
  if (phase === 'prepared') {
    // Of an earlier attempt there may be more than the slot.
    const isPublished = facts.isPublished && facts.slot === 'present' && record.connection !== null;
    return step(isPublished ? 'subscribe' : 'publish');
  }
  if (facts.slot !== 'present') {
    const why =
      facts.slot === undefined
        ? 'its replication slot is gone'
        : 'the server has thrown away WAL that was needed';
    return step('restart', why);
  }
  if (!facts.isPublished) return step('restart', 'its publication is gone');
  if (shard.subscription === undefined) return step('restart', 'its subscription is gone');
  if (record.connection !== view.connection) return step('reconnect');
  if (phase === 'fenced') return facts.isFenced ? drain(view, shard, record) : step('unfence', fenceGone);
  const [problem] = tableProblems(record.tables, facts, shard.tables);
  if (problem !== undefined) return { kind: 'refuse', reason: problem.code, message: problem.message };
  const { ready, total, errors } = shard.subscription;
  const trouble =
    errors === 0 ? '' : `; ${errors} tries have failed: the log of the primary of shard s0 says why`;
  if (ready.length < total)
    return wait('Copying', `${ready.length} of ${total} tables are in step${trouble}`);
  if (phase === 'copying') return step('follow');
  if (wanted.cutover === 'manual') {
    if (facts.isFenced) return step('unfence');
    return wait(
      'AwaitingCutover',
      'the copies are in step: write "cutover: auto" to let the cluster take over',
    );
  }
  // By what is applied: what has come, and waits for a lock there, would be waited for with the writers kept out.
  const { receivedLsn } = shard.subscription;
  const lag = receivedLsn === null ? undefined : bytesBetween(facts.confirmedLsn, facts.lsn);
  if ((lag === undefined || lag > maxLagBytes) && !facts.isFenced)
    return wait('CatchingUp', `${lag ?? 'an unknown number of'} bytes of WAL are not applied yet${trouble}`);
  const againMs = (record.fencedAtMs ?? Number.NEGATIVE_INFINITY) + drainMs + retryMs - view.nowMs;
  if (againMs > 0 && !facts.isFenced)
    return wait(
      'NotDrained',
      `the last writes had not arrived after ${drainMs / 1000} s, so the server takes writes again: trying again within ` +
        `${Math.ceil(againMs / 60_000)} min${trouble}`,
    );
  return step('fence');
}

function drain(view: ImportView, { subscription }: ShardFacts, record: ImportRecord): ImportPlan {
  const { ready = [], total = 0, receivedLsn = null } = subscription ?? {};
  if (ready.length === total && hasReached(receivedLsn, record.fenceLsn)) return step('verify');
  if (view.nowMs - (record.fencedAtMs ?? 0) < drainMs)
    return wait('Draining', 'the last writes of the server are on their way');
  return step('unfence', `the last writes had not arrived after ${drainMs / 1000} s`);
}

function step(kind: ImportStepKind, why?: string): ImportPlan {
  return { kind: 'step', step: kind, ...(why === undefined ? {} : { why }) };
}

function wait(reason: string, message: string): ImportPlan {
  return { kind: 'wait', reason, message };
}

/** What somebody has to do by hand at a server that cannot be reached any more. */
export function leftover({ name, source }: Pick<ImportRecord, 'name' | 'source'>): string {
  return (
    `the replication slot "${name}" keeps WAL in database "${source.database}" of ${source.host}: if Herdsman cannot reach it again, run there ` +
    `SELECT pg_drop_replication_slot('${name}'); DROP PUBLICATION ${name}`
  );
}
