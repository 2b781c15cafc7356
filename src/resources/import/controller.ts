import { shardedClusterSpec } from '../../api/v1alpha1/sharded-cluster.ts';
import {
  type Controller,
  defineController,
  type ReconcileContext,
  type ReconcileResult,
} from '../../runtime/controller.ts';
import { createExpectations } from '../../runtime/expectations.ts';
import { hold, isHeldBy, letGo } from '../../runtime/finalizers.ts';
import { keyOf, keyString, type ObjectKey } from '../../runtime/kubernetes-object.ts';
import { writeStatus } from '../../runtime/status-writer.ts';
import { shardedClusterType } from '../sharded-cluster/kinds.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import type { Sources } from '../sharded-cluster/sources.ts';
import { importManager, importPart } from '../sharded-cluster/status-parts.ts';
import { type ImportReport, type OwnStatus, statusOf } from './status.ts';
import { createWork, type ImportWorkDependencies, importName } from './work.ts';

/** What the controller works with. */
export interface ImportDependencies extends ImportWorkDependencies {
  readonly sources: Pick<Sources, 'claims' | 'clusters'>;
}

/** Keeps a cluster until nothing of an import is left at the other server, whose disk a slot would fill. */
const finalizer = 'herdsman.dev/import';
/** Comparing rows takes as long as it takes. */
const longestPassMs = 6 * 3_600_000;
const soonMs = 50;
const waitingMs = 1_000;
/** How often an import that waits for somebody is looked at: each look is a session on the other server. */
const idleMs = 5_000;
/** A deleted cluster whose other server cannot be reached goes after so long, and what is left is told. */
const farewellMs = 60_000;
/** Reasons to wait for somebody, and not for something that goes on by itself. */
const patient: ReadonlySet<string> = new Set(['AwaitingCutover', 'LeftBehind', 'SourceUnreachable']);

/** While the other server takes no writes any more, and the cluster none yet. */
const between: ReadonlySet<string> = new Set(['fenced', 'verified']);

/** Brings another PostgreSQL in: copies, keeps in step, and lets the cluster take over. */
export function importController(dependencies: ImportDependencies): Controller {
  const { client, sources, events, clock } = dependencies;
  const expectations = createExpectations({ clock });
  const work = createWork(dependencies);

  async function reconcile(key: ObjectKey, context: ReconcileContext): Promise<ReconcileResult | undefined> {
    const owner = keyString(key);
    const found = sources.clusters.cache.get(key);
    if (found === undefined) {
      expectations.forget(owner);
      return undefined;
    }
    if (expectations.pending(owner).length > 0) return { requeueAfterMs: soonMs };
    const cluster: ShardedCluster = { ...found, spec: shardedClusterSpec.parse(found.spec) };
    if (cluster.metadata.deletionTimestamp !== undefined) return farewell(cluster, context);
    // Between fence and switch neither of the two takes writes: that is brought to its end.
    if (cluster.spec.suspend && !between.has(found.status?.import?.phase ?? '')) return undefined;
    const isWanted = cluster.spec.bootstrap !== undefined;
    if (!isWanted && found.status?.import === undefined && !isHeldBy(found, finalizer)) return undefined;
    if (isWanted && found.status?.import?.phase === 'done') {
      await letGo(client, shardedClusterType, cluster, finalizer, context.signal);
      return undefined;
    }
    if (isWanted && !hasBegun(found) && !isAsked(found)) return { requeueAfterMs: waitingMs };
    if (isWanted && !isHeldBy(found, finalizer)) {
      await hold(client, shardedClusterType, found, finalizer, context.signal);
      return { requeueAfterMs: soonMs };
    }
    const report = await work.pass(cluster, context);
    const isOver = report === undefined || report.outcome.kind === 'over';
    tellRefusal(found, report);
    const shown = isOver && !isWanted ? undefined : report;
    const written = await write(found, statusOf(found, shown, clock.now()), context.signal);
    if (isOver) await letGo(client, shardedClusterType, written, finalizer, context.signal);
    return delayOf(report);
  }

  /** Answers the object as it is now. */
  async function write(
    found: ShardedCluster,
    status: OwnStatus,
    signal: AbortSignal,
  ): Promise<ShardedCluster> {
    const own = { ...found, status: importPart(found.status) };
    const options = { signal, fieldManager: importManager };
    const written = await writeStatus(client, shardedClusterType, own, status, options);
    if (written.changed)
      expectations.expectWritten(keyString(keyOf(found)), sources.clusters.cache, written.object);
    return written.object;
  }

  /** Once for each refusal that is new. */
  function tellRefusal(cluster: ShardedCluster, report: ImportReport | undefined): void {
    if (report?.outcome.kind !== 'refused' || cluster.status?.import?.message === report.outcome.message)
      return;
    const { reason, message } = report.outcome;
    events.record(cluster, { type: 'Warning', reason, action: 'Import', note: message });
  }

  /** The volumes stay; at the other server nothing may, but the refusal of writes if the cluster has taken over. */
  async function farewell(
    cluster: ShardedCluster,
    context: ReconcileContext,
  ): Promise<ReconcileResult | undefined> {
    if (!isHeldBy(cluster, finalizer)) return undefined;
    const left = await work.leave(cluster, context);
    if (left !== undefined) {
      const sinceMs = clock.now().getTime() - Date.parse(cluster.metadata.deletionTimestamp ?? '');
      if (sinceMs < farewellMs) return { requeueAfterMs: waitingMs };
      const name = importName(cluster);
      const note =
        `${left}: the replication slot "${name}" may be left there, and fill its disk: run SELECT pg_drop_replication_slot('${name}'); ` +
        `DROP PUBLICATION ${name}; DROP SCHEMA IF EXISTS ${name} CASCADE`;
      events.record(cluster, { type: 'Warning', reason: 'LeftBehind', action: 'Import', note });
    }
    await letGo(client, shardedClusterType, cluster, finalizer, context.signal);
    return undefined;
  }

  return defineController<ShardedCluster>({
    name: 'import',
    source: sources.clusters,
    sourceWhen: ({ old, current }) =>
      old?.metadata.generation !== current?.metadata.generation ||
      old?.metadata.deletionTimestamp !== current?.metadata.deletionTimestamp ||
      (current !== undefined && isAsked(current) && (old === undefined || !isAsked(old))),
    reconcileTimeoutMs: longestPassMs,
    reconcile,
  });
}

/** Whether tables refuse writes for its sake. */
function hasBegun({ status }: ShardedCluster): boolean {
  const { phase } = status?.import ?? {};
  return phase !== undefined && phase !== 'waiting' && phase !== 'refused';
}

/** Whether the ShardedCluster's own controller has made the tables, and waits for their rows. */
function isAsked({ status }: ShardedCluster): boolean {
  return status?.conditions?.find(({ type }) => type === 'SchemaApplied')?.reason === 'Importing';
}

function delayOf(report: ImportReport | undefined): ReconcileResult | undefined {
  if (report === undefined) return undefined;
  const { outcome } = report;
  if (outcome.kind === 'over') return undefined;
  if (outcome.kind === 'going') return { requeueAfterMs: soonMs };
  return {
    requeueAfterMs: outcome.kind === 'refused' || patient.has(outcome.reason) ? idleMs : waitingMs,
  };
}
