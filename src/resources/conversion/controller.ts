import { durationMs } from '../../api/v1alpha1/duration.ts';
import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import type { Connections } from '../../postgres/connections.ts';
import type { Clock } from '../../runtime/clock.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import { createExpectations } from '../../runtime/expectations.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { keyOf, keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { writeStatus } from '../../runtime/status-writer.ts';
import { isImporting } from '../../sharding/import/model.ts';
import { shardedClusterType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { conversionManager, conversionPart } from '../sharded-cluster/status-parts.ts';
import { type GroupReport, type OwnStatus, statusOf } from './status.ts';
import { createWork } from './work.ts';

/** What the controller works with. */
export interface ConversionDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly findPrimaries: FindPrimaries;
}

/** Building indexes and comparing rows take as long as they take. */
const longestPassMs = 6 * 3_600_000;
const soonMs = 50;
const waitingMs = 1_000;
/** How often the plain tables of a conversion that can be taken back are brought up. */
const followMs = 2_000;
const refusedMs = 5_000;
/** What is waited for without haste: an end of the way back, and room on a disk. */
const patient: ReadonlySet<string> = new Set(['Reversible', 'DiskFull']);
/** What the ShardedCluster's own controller says when it waits for a conversion. */
const reasons: ReadonlySet<string> = new Set(['Converting', 'ConversionRefused', 'Reverting']);

/** Makes distributed tables of plain ones that have rows, and plain ones again when the user says so. */
export function conversionController(dependencies: ConversionDependencies): Controller {
  const { client, sources, events, clock } = dependencies;
  const expectations = createExpectations({ clock });
  const work = createWork(dependencies);
  /** Generations of clusters that had nothing to convert. */
  const idle = new Map<string, number | undefined>();

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const owner = keyString(key);
    const found = sources.clusters.cache.get(key);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) {
      idle.delete(owner);
      expectations.forget(owner);
      return undefined;
    }
    if (expectations.pending(owner).length > 0) return { requeueAfterMs: soonMs };
    const spec = shardedClusterSpec.parse(found.spec);
    if (spec.suspend || found.status?.shards === undefined) return undefined;
    // Nor while rows still come from elsewhere; the cluster's own controller asks for us after it.
    if (isImporting(spec.bootstrap?.import, found.status.import?.phase)) return undefined;
    const { generation } = found.metadata;
    if (!isWaiting(found) && idle.has(owner) && idle.get(owner) === generation) return undefined;
    const cluster: ShardedCluster = { ...found, spec };
    const reports = await work.pass(cluster, context);
    if (typeof reports === 'string')
      return { requeueAfterMs: reports === 'TablesInvalid' ? refusedMs : waitingMs };
    const retentionMs = durationMs(spec.conversion.retention) ?? 0;
    tellRefusals(cluster, reports);
    await write(found, statusOf(cluster, reports, retentionMs, clock.now()), context.signal);
    if (reports.length === 0 && !isWaiting(found)) {
      idle.set(owner, generation);
      return undefined;
    }
    idle.delete(owner);
    if (reports.some(({ outcome }) => outcome.kind === 'going')) return { requeueAfterMs: soonMs };
    if (reports.some(({ outcome }) => outcome.kind === 'waiting' && !patient.has(outcome.reason)))
      return { requeueAfterMs: waitingMs };
    const isIdle = reports.every(
      ({ outcome }) => outcome.kind === 'waiting' && outcome.reason === 'Reversible',
    );
    return { requeueAfterMs: isIdle ? followMs : refusedMs };
  }

  async function write(found: ShardedCluster, status: OwnStatus, signal: AbortSignal): Promise<void> {
    const own = { ...found, status: conversionPart(found.status) };
    const options = { signal, fieldManager: conversionManager };
    const written = await writeStatus(client, shardedClusterType, own, status, options);
    if (written.changed)
      expectations.expectWritten(keyString(keyOf(found)), sources.clusters.cache, written.object);
  }

  /** Once for each refusal that is new. */
  function tellRefusals(cluster: ShardedCluster, reports: readonly GroupReport[]): void {
    const before = new Set((cluster.status?.conversions ?? []).map(({ message }) => message));
    for (const { outcome } of reports) {
      if (outcome.kind !== 'refused' || before.has(outcome.message)) continue;
      const { reason, message } = outcome;
      events.record(cluster, { type: 'Warning', reason, action: 'Convert', note: message });
    }
  }

  return defineController<ShardedCluster>({
    name: 'conversion',
    source: sources.clusters,
    sourceWhen: ({ old, current }) =>
      old?.metadata.generation !== current?.metadata.generation ||
      old?.metadata.deletionTimestamp !== current?.metadata.deletionTimestamp ||
      (old?.status?.shards === undefined) !== (current?.status?.shards === undefined) ||
      (current !== undefined && isWaiting(current) && (old === undefined || !isWaiting(old))),
    reconcileTimeoutMs: longestPassMs,
    reconcile,
  });
}

function isWaiting({ status }: ShardedCluster): boolean {
  const schema = status?.conditions?.find(({ type }) => type === 'SchemaApplied');
  return schema !== undefined && reasons.has(schema.reason);
}
