import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImportSpec } from '../../api/v1alpha1/import.ts';
import type { Connection, ConnectOptions } from '../../postgres/connection.ts';
import type { Connections } from '../../postgres/connections.ts';
import { done, refusable } from '../../postgres/conversion/context.ts';
import {
  connectionHash,
  type ImportContext,
  readImport,
  type SourceLogin,
  sourceConninfo,
  sourceOptions,
} from '../../postgres/import/context.ts';
import { lookAtShard, lookAtSource, lookAtSubscription } from '../../postgres/import/look.ts';
import { performImportStep } from '../../postgres/import/perform.ts';
import { dropFence, release } from '../../postgres/import/source.ts';
import { PostgresError, UnreachableError } from '../../postgres/postgres-error.ts';
import type { Clock } from '../../runtime/clock.ts';
import type { ReconcileContext } from '../../runtime/controller.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import { hasReached } from '../../sharding/import/model.ts';
import { type ImportStepKind, type ImportView, planImport } from '../../sharding/import/plan.ts';
import type { ShardedCluster } from '../sharded-cluster/model.ts';
import { primaryHost } from '../sharded-cluster/names.ts';
import type { FindPrimaries } from '../sharded-cluster/primaries.ts';
import { byCluster, clusterIndexValue, type Sources } from '../sharded-cluster/sources.ts';
import { volumeOf } from '../sharded-cluster/volume.ts';
import { createLoginReader } from './login.ts';
import type { ImportReport } from './status.ts';

/** What the work is done with. */
export interface ImportWorkDependencies {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, 'claims'>;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly findPrimaries: FindPrimaries;
}

/** The shard that gets the rows; the rebalancer spreads them. */
const shardName = 's0';
/** How long a pass goes from step to step before it tells how far it is. */
const passMs = 5_000;
/** How often it is looked whether the last writes have arrived. */
const drainMs = 5;
/** How long only that is looked at. */
const drainingMs = 1_000;

/** What carries plans of imports out. */
export interface ImportWork {
  /** Goes on until it has to wait; `undefined` when there is no import. */
  pass(cluster: ShardedCluster, context: ReconcileContext): Promise<ImportReport | undefined>;
  /** Leaves nothing at the other server; `undefined` when nothing is left, else what is. */
  leave(cluster: ShardedCluster, context: ReconcileContext): Promise<string | undefined>;
}

/** Name of what an import makes: of the object, not of its name, so that a namesake made since has another. */
export function importName({ metadata }: Pick<ShardedCluster, 'metadata'>): string {
  const hash = createHash('sha256').update(metadata.uid);
  return `herdsman_import_${hash.digest('hex').slice(0, 8)}`;
}

/** Carries out what `planImport` decides, between the other server and the first shard of a cluster. */
export function createWork({
  client,
  sources,
  connections,
  events,
  clock,
  findPrimaries,
}: ImportWorkDependencies): ImportWork {
  const readLogin = createLoginReader(client, clock.monotonicMs);

  function contextOf(
    cluster: ShardedCluster,
    source: ImportSpec,
    login: SourceLogin,
    shard: ConnectOptions | undefined,
    { leading }: ReconcileContext,
  ): ImportContext {
    const { name, namespace } = cluster.metadata;
    const own = importName(cluster);
    return {
      name: own,
      source,
      login,
      destination: primaryHost(name, shardName, namespace),
      useSource: (work, isPatient) =>
        connections.use(sourceOptions(source, login, own, isPatient), work, leading),
      useShard: (work, isPatient = false) => {
        if (shard === undefined)
          throw new UnreachableError(`shard ${shardName} has no primary that is ready`);
        return connections.use(isPatient ? { ...shard, statementTimeoutMs: 0 } : shard, work, leading);
      },
    };
  }

  async function onShard<T>(
    shard: ConnectOptions | undefined,
    work: (connection: Connection) => Promise<T>,
    { leading }: ReconcileContext,
  ): Promise<T | undefined> {
    if (shard === undefined) return undefined;
    try {
      return await connections.use(shard, work, leading);
    } catch (error) {
      if (error instanceof UnreachableError) return undefined;
      throw error;
    }
  }

  async function round(
    cluster: ShardedCluster,
    context: ReconcileContext,
    isEnding: boolean,
  ): Promise<ImportReport | undefined> {
    const name = importName(cluster);
    const primary = (await findPrimaries(cluster, context.signal)).get(shardName);
    const shard = await onShard(primary, (connection) => lookAtShard(connection, name), context);
    const wanted = isEnding ? undefined : cluster.spec.bootstrap?.import;
    const source = wanted ?? shard?.record?.source ?? cluster.spec.bootstrap?.import;
    // That nothing is wanted does not say that nothing is there: the shard does.
    if (source === undefined && shard === undefined)
      throw new UnreachableError(`shard ${shardName} has no primary that is ready`);
    if (source === undefined) return undefined;
    const nowMs = clock.now().getTime();
    const ofCluster = clusterIndexValue(cluster.metadata.namespace, cluster.metadata.name);
    const found = await readLogin(cluster.metadata.namespace, source, isEnding, context.signal);
    const login = found.state === 'known' ? found.login : { username: '', password: '' };
    const acting = contextOf(cluster, source, login, primary, context);
    const claims = sources.claims.cache.byIndex(byCluster, ofCluster);
    const view: ImportView = {
      wanted,
      shard,
      source: found.state === 'known' ? await lookAt(acting) : found,
      connection: connectionHash(sourceConninfo(source, login, name)),
      volume: volumeOf(cluster, claims, shardName),
      nowMs,
    };
    const plan = planImport(view);
    const report = { name, source, view };
    if (plan.kind === 'none') return { ...report, outcome: { kind: 'over' } };
    if (plan.kind !== 'step') {
      const { kind, reason, message } = plan;
      return { ...report, outcome: { kind: kind === 'refuse' ? 'refused' : 'waiting', reason, message } };
    }
    if (shard === undefined) return undefined;
    const startedMs = clock.monotonicMs();
    const facts = { shard, source: view.source.state === 'known' ? view.source.facts : undefined };
    const result = await performImportStep(acting, plan.step, facts);
    const tookMs = Math.round(clock.monotonicMs() - startedMs);
    context.log.info({ step: plan.step, why: plan.why, tookMs, result }, 'step of an import');
    if (result.kind === 'waiting')
      return { ...report, outcome: { kind: 'waiting', reason: result.reason, message: result.message } };
    tellStep(cluster, plan.step, source, result.kind === 'changed' ? result.message : plan.why);
    return { ...report, outcome: { kind: 'going' } };
  }

  /** Waits a moment for the last writes: nobody can write meanwhile, so that only the stream is looked at, and often. */
  async function drained(
    cluster: ShardedCluster,
    { name, view }: ImportReport,
    context: ReconcileContext,
  ): Promise<void> {
    const primary = (await findPrimaries(cluster, context.signal)).get(shardName);
    const fenceLsn = view.shard?.record?.fenceLsn ?? null;
    const untilMs = clock.monotonicMs() + drainingMs;
    while (clock.monotonicMs() < untilMs) {
      await sleep(drainMs);
      const found = await onShard(primary, (connection) => lookAtSubscription(connection, name), context);
      if (found === undefined || hasReached(found.receivedLsn, fenceLsn)) return;
    }
  }

  /** What the server itself refuses is told as it says it. */
  async function lookAt(acting: ImportContext): Promise<ImportView['source']> {
    try {
      const facts = await acting.useSource((connection) => lookAtSource(connection, acting.name));
      return { state: 'known', facts };
    } catch (error) {
      if (!(error instanceof PostgresError) && !(error instanceof UnreachableError)) throw error;
      const { host, port, database } = acting.source;
      const where = `${host}:${port}/${database}`;
      const advice = error instanceof PostgresError ? advices[error.sqlstate] : undefined;
      return {
        state: 'unknown',
        reason: advice?.reason ?? 'SourceUnreachable',
        message: `${where}: ${error.message}${advice === undefined ? '' : `: ${advice.what}`}`,
      };
    }
  }

  function tellStep(
    cluster: ShardedCluster,
    step: ImportStepKind,
    { host, database }: ImportSpec,
    why: string | undefined,
  ): void {
    const from = `database "${database}" of ${host}`;
    const because = why === undefined ? '' : `: ${why}`;
    const tale = tales[step]?.(from, because);
    if (tale === undefined) return;
    const [type, reason, note] = tale;
    events.record(cluster, { type, reason, action: 'Import', note });
  }

  return {
    async pass(cluster, context) {
      const untilMs = clock.monotonicMs() + passMs;
      for (;;) {
        const report = await round(cluster, context, false);
        if (report === undefined || clock.monotonicMs() > untilMs) return report;
        const { outcome } = report;
        if (outcome.kind === 'waiting' && outcome.reason === 'Draining')
          await drained(cluster, report, context);
        else if (outcome.kind !== 'going') return report;
      }
    },

    async leave(cluster, context) {
      const name = importName(cluster);
      const primary = (await findPrimaries(cluster, context.signal)).get(shardName);
      const record = await onShard(primary, (connection) => readImport(connection, name), context);
      if (record !== undefined) {
        for (;;) {
          const report = await round(cluster, context, true);
          if (report === undefined) return undefined;
          const { outcome } = report;
          if (outcome.kind === 'over') return undefined;
          if (outcome.kind === 'waiting' || outcome.kind === 'refused') return outcome.message;
        }
      }
      // Without the shard, or without its row: by name.
      const source = cluster.spec.bootstrap?.import;
      if (source === undefined) return undefined;
      const found = await readLogin(cluster.metadata.namespace, source, true, context.signal);
      if (found.state === 'unknown') return found.message;
      const acting = contextOf(cluster, source, found.login, undefined, context);
      const seen = await lookAt(acting);
      if (seen.state === 'unknown') return seen.message;
      const isToBeUnfenced = cluster.status?.import?.switchedAt === undefined && seen.facts.isFenced;
      const unfenced = isToBeUnfenced
        ? await refusable(async () => {
            await acting.useSource((connection) => dropFence(connection, name));
            return done;
          })
        : done;
      // Its slot would fill the server's disk, whatever else is refused.
      const released = await refusable(() =>
        acting.useSource((connection) => release(connection, name, null)),
      );
      // What the server refuses now it may refuse for good: it is told, and keeps the cluster no longer than one that is away.
      const left = [unfenced, released].flatMap((step) => (step.kind === 'done' ? [] : [step.message]));
      return left.length === 0 ? undefined : left.join('; ');
    },
  };
}

const advices: Readonly<Record<string, { readonly reason: string; readonly what: string }>> = {
  '28P01': { reason: 'LoginFailed', what: 'correct username and password in the Secret' },
  '28000': {
    reason: 'LoginFailed',
    what: 'let the role log in (LOGIN, and a line in pg_hba.conf for the addresses of the pods)',
  },
  '3D000': { reason: 'NoSuchDatabase', what: 'correct bootstrap.import.database' },
  '53300': { reason: 'TooManyConnections', what: 'raise max_connections there' },
};

type Tale = (from: string, because: string) => readonly ['Normal' | 'Warning', string, string];

/** Steps that are worth an event. */
const tales: Partial<Record<ImportStepKind, Tale>> = {
  subscribe: (from) => ['Normal', 'ImportCopying', `${from} is being copied`],
  follow: (from) => ['Normal', 'ImportFollowing', `every table of ${from} is copied and kept in step`],
  fence: (from) => ['Normal', 'ImportFenced', `${from} takes no more writes of the imported tables`],
  unfence: (from, because) => ['Warning', 'ImportUnfenced', `${from} takes writes again${because}`],
  verify: (from, because) =>
    because === ''
      ? ['Normal', 'ImportVerified', `the tables are as in ${from}`]
      : ['Warning', 'VerificationFailed', `the tables are not as in ${from}${because}`],
  switch: (from) => ['Normal', 'Imported', `the cluster has taken over from ${from}`],
  restart: (from, because) => ['Warning', 'ImportRestarted', `${from} is copied again${because}`],
  withdraw: (from) => ['Normal', 'ImportWithdrawn', `the import of ${from} is given up`],
};
