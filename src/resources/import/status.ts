import type { ImportSpec, ImportStatus } from '../../api/v1alpha1/import.ts';
import type { ShardedClusterStatus } from '../../api/v1alpha1/sharded-cluster.ts';
import type { ConditionInput } from '../../runtime/conditions.ts';
import { bytesBetween } from '../../sharding/import/model.ts';
import type { ImportView } from '../../sharding/import/plan.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { conditionsBefore, merged } from '../sharded-cluster/status.ts';
import { ofGeneration } from '../sharded-cluster/status-conditions.ts';

/** The fields of `status` that imports write. */
export type OwnStatus = Pick<ShardedClusterStatus, 'import' | 'conditions'>;

/** How an import stands after a pass. */
export interface ImportReport {
  readonly name: string;
  readonly source: ImportSpec;
  readonly view: Pick<ImportView, 'shard' | 'source' | 'nowMs'>;
  readonly outcome:
    | { readonly kind: 'going' }
    | { readonly kind: 'over' }
    | { readonly kind: 'waiting' | 'refused'; readonly reason: string; readonly message: string };
}

/** The status, from zero; nothing without an import. */
export function statusOf(
  cluster: Pick<ShardedCluster, 'metadata' | 'status'>,
  report: ImportReport | undefined,
  now: Date,
): OwnStatus {
  if (report === undefined) return {};
  const status = importOf(report);
  const conditions = ofGeneration(cluster.metadata.generation, [conditionOf(status)]);
  return { import: status, conditions: merged(conditionsBefore(cluster.status), conditions, now) };
}

function importOf({ name, source, view, outcome }: ImportReport): ImportStatus {
  const record = view.shard?.record;
  const isOpen = outcome.kind === 'waiting' || outcome.kind === 'refused';
  const { fencedAtMs = null, switchedAtMs = null } = record ?? {};
  return {
    phase: record?.phase ?? (outcome.kind === 'refused' ? 'refused' : 'waiting'),
    source: `${source.host}:${source.port}/${source.database}`,
    slot: name,
    ...progressOf(view),
    ...(fencedAtMs === null || switchedAtMs === null ? {} : { fenceMs: switchedAtMs - fencedAtMs }),
    ...(record === undefined ? {} : { attempt: record.attempt }),
    ...(switchedAtMs === null ? {} : { switchedAt: new Date(switchedAtMs).toISOString() }),
    ...(isOpen ? { reason: outcome.reason, message: outcome.message } : {}),
  };
}

/** Only while rows come. */
function progressOf({
  shard,
  source,
  nowMs,
}: ImportReport['view']): Pick<ImportStatus, 'tables' | 'progress' | 'eta' | 'lagBytes'> {
  if (shard?.record === undefined || shard.subscription === undefined || source.state === 'unknown')
    return {};
  const { record, subscription, tables } = shard;
  const lag = bytesBetween(source.facts.confirmedLsn, source.facts.lsn);
  const inStep = {
    tables: `${subscription.ready.length}/${subscription.total}`,
    ...(lag === undefined ? {} : { lagBytes: rounded(lag) }),
  };
  if (record.phase !== 'copying') return inStep;
  const sum = (all: readonly { readonly name: string; readonly bytes: number }[]) =>
    all.filter(({ name }) => record.tables.includes(name)).reduce((total, { bytes }) => total + bytes, 0);
  const [copied, whole] = [sum(tables), sum(source.facts.tables)];
  const part = whole === 0 ? 0 : Math.min(copied / whole, 0.99);
  const elapsedMs = nowMs - (record.startedAtMs ?? nowMs);
  // Before a twentieth is there the rate says nothing.
  const leftMs = part < 0.05 ? undefined : (elapsedMs * (1 - part)) / part;
  return {
    ...inStep,
    progress: `${Math.floor(100 * part)} %`,
    ...(leftMs === undefined ? {} : { eta: minute(nowMs + leftMs) }),
  };
}

/** To two significant digits: a status that says nothing new is not sent. */
function rounded(bytes: number): number {
  return Number(bytes.toPrecision(2));
}

function minute(ms: number): string {
  return new Date(Math.ceil(ms / 60_000) * 60_000).toISOString();
}

function conditionOf({ phase, reason, message, source }: ImportStatus): ConditionInput {
  const type = 'Imported';
  if (phase === 'switched' || phase === 'done') {
    const left = message === undefined ? '' : `; ${message}`;
    return {
      type,
      status: 'True',
      reason: reason ?? 'Imported',
      message: `the cluster has taken over from ${source}${left}`,
    };
  }
  return {
    type,
    status: 'False',
    reason: reason ?? 'Importing',
    message: message ?? `the import is in the phase ${phase}`,
  };
}
