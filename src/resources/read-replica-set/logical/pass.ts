import { durationMs } from '../../../api/v1alpha1/duration.ts';
import { issueCertificate } from '../../../pki/certificate.ts';
import type { Connections } from '../../../postgres/connections.ts';
import type { Clock } from '../../../runtime/clock.ts';
import type { ReconcileContext } from '../../../runtime/controller.ts';
import type { EventRecorder } from '../../../runtime/events.ts';
import type { KubeClient } from '../../../runtime/kube-client.ts';
import { keyString, type ObjectKey } from '../../../runtime/kubernetes-object.ts';
import { secretType } from '../../../runtime/kubernetes-types.ts';
import { createMemories } from '../../../runtime/memories.ts';
import { authorityOf } from '../../sharded-cluster/desired/tls-secrets.ts';
import { isPodReady } from '../../sharded-cluster/kubernetes.ts';
import type { Settings, ShardedCluster } from '../../sharded-cluster/model.ts';
import { authoritySecret, fieldManager, roleLabel, shardLabel } from '../../sharded-cluster/names.ts';
import type { ShardAccess } from '../../sharded-cluster/shard-access.ts';
import { byCluster, clusterIndexValue, type Sources } from '../../sharded-cluster/sources.ts';
import { contentOf } from '../../sharded-cluster/steps/identity.ts';
import { executeSet, type SetExecution, type SetFailure } from '../execute.ts';
import { withFailedActions } from '../failed-actions.ts';
import type { SetMemory } from '../memory.ts';
import type { ReadReplicaSet } from '../model.ts';
import { replicasName } from '../names.ts';
import { busyMs, nextLookMs } from '../next-look.ts';
import { effectiveSettings } from '../settings.ts';
import type { ReplicaSources } from '../sources.ts';
import { sourceAddress } from './access.ts';
import { type ModelPass, StepRefused } from './context.ts';
import { modelTlsSecretObject } from './desired/objects.ts';
import { executeStep, tidy } from './execute.ts';
import { emptyModelMemory, type ModelMemory } from './memory.ts';
import type { ModelMember, ModelStep } from './model.ts';
import { modelPart, modelServerNames } from './names.ts';
import { createModelObserver, type ModelObservation } from './observe.ts';
import { type ModelInput, type ModelPlan, planModel } from './plan.ts';
import { modelStatusOf } from './status.ts';
import { tablesOf } from './tables.ts';

/** What read models are kept with. */
export interface ModelDependencies {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly replicas: ReplicaSources;
  readonly connections: Connections;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly settings: Settings;
  readonly execution: SetExecution;
}

/** What one pass came to. */
export interface ModelPassResult {
  readonly status: NonNullable<ReadReplicaSet['status']>;
  readonly failures: readonly SetFailure[];
  /** After how long the next pass is due. */
  readonly nextMs: number;
}

/** Passes over logical sets. */
export interface ModelPasses {
  pass(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    memory: SetMemory,
    context: ReconcileContext,
  ): Promise<ModelPassResult>;
  /** Forgets a set that is gone. */
  forget(key: ObjectKey): void;
}

/** A step that failed is tried again after so long. */
const retryMs = 5_000;
/** Standbys are looked through for slots of former primaries so often. */
const tidyMs = 10_000;

/** Makes what passes over logical sets. */
export function createModelPasses(dependencies: ModelDependencies): ModelPasses {
  const { client, sources, connections, events, clock, settings, execution } = dependencies;
  const observer = createModelObserver({ ...dependencies, monotonicMs: clock.monotonicMs });
  const stepping = { client, connections, events, addressOf: sourceAddress };
  const memories = createMemories<ModelMemory>();

  /** Steps take as long as they take, and rotation does not wait for them: each member has one at a time. */
  function start(
    context: ReconcileContext,
    pass: ModelPass,
    member: ModelMember,
    step: ModelStep,
    seenMs: number,
  ): boolean {
    const { memory, set } = pass;
    const { name } = member.replica;
    if (step.kind === 'wait' || step.kind === 'fail' || step.kind === 'none') {
      if (!memory.running.has(name)) memory.errors.delete(name);
      return false;
    }
    // What was seen before a step ended does not tell what it has done.
    if (memory.running.has(name) || (memory.ended.get(name) ?? 0) >= seenMs) return true;
    const last = memory.errors.get(name);
    if (last !== undefined && clock.monotonicMs() - last.atMs < retryMs) return false;
    memory.running.set(name, step.kind);
    executeStep(stepping, pass, member, step)
      .then(
        () => memory.errors.delete(name),
        (error: unknown) => {
          const message = error instanceof Error ? error.message : String(error);
          const reason = error instanceof StepRefused ? error.reason : 'Retrying';
          context.log.warn(
            { key: keyString(set.metadata), member: name, step: step.kind, error: message },
            'step failed',
          );
          memory.errors.set(name, { step: step.kind, reason, message, atMs: clock.monotonicMs() });
        },
      )
      .finally(() => {
        memory.running.delete(name);
        memory.ended.set(name, clock.monotonicMs());
      });
    return true;
  }

  async function issue(
    set: ReadReplicaSet,
    cluster: ShardedCluster,
    { secrets }: ModelObservation,
  ): Promise<void> {
    const { name, namespace } = set.metadata;
    const authority = authorityOf(contentOf(secrets.get(authoritySecret(set.spec.cluster))) ?? {});
    const lifetime = durationMs(cluster.spec.tls.certificateLifetime);
    if (authority === undefined || lifetime === undefined) return;
    const server = await issueCertificate(authority.current, {
      commonName: replicasName(name, modelPart),
      dnsNames: modelServerNames(name, namespace),
      usage: 'server',
      now: clock.now(),
      lifetime,
    });
    const secret = modelTlsSecretObject(set, server, authority.bundle);
    observer.secrets.note(await client.apply(secretType, secret, { fieldManager, force: true }));
  }

  function tidyLater(context: ReconcileContext, pass: ModelPass): void {
    const { memory, set } = pass;
    if (memory.running.size > 0 || clock.monotonicMs() - memory.sweptMs < tidyMs) return;
    memory.sweptMs = clock.monotonicMs();
    const { namespace } = set.metadata;
    const standbys = sources.pods.cache
      .byIndex(byCluster, clusterIndexValue(namespace, set.spec.cluster))
      .flatMap((pod) => {
        const shard = pod.metadata.labels?.[shardLabel];
        const address = pod.status?.podIP;
        const isStandby = pod.metadata.labels?.[roleLabel] === 'replica' && isPodReady(pod);
        return isStandby && shard !== undefined && address !== undefined ? [{ shard, address }] : [];
      });
    tidy(stepping, pass, standbys).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      context.log.warn({ key: keyString(set.metadata), error: message }, 'cannot tidy up');
    });
  }

  return {
    async pass(set, cluster, memory, context) {
      const model = memories.of(set.metadata, emptyModelMemory);
      const seenMs = clock.monotonicMs();
      const observation = await observer.observe(set, cluster, memory, model, context.signal);
      const lookedMs = clock.monotonicMs();
      const { tables, undistributed } = tablesOf(set.spec.logical, cluster, observation.sources.length);
      const input: ModelInput = {
        set,
        cluster,
        part: {
          cluster,
          shards: [observation.shard],
          objects: observation.objects,
          parameterProblems: observation.parameterProblems,
          weighers: [],
          replicas: set.spec.replicas,
        },
        members: observation.members,
        takenByOthers: observation.takenByOthers,
        world: {
          set: set.metadata.name,
          tables,
          undistributed,
          sources: observation.sources,
          map: observation.map,
          migrations: observation.migrations,
          extras: observation.extras,
          replacements: new Map((set.spec.logical?.replace ?? []).map(({ name, sql }) => [name, sql])),
          maxCopies: set.spec.maxConcurrentClones,
        },
        secrets: observation.secrets,
        settings,
        now: clock.now(),
      };
      const decided = planModel(input);
      const failures = await executeSet(
        execution,
        { set, observed: input.part, access: memberAccess(observation), memory, signal: context.signal },
        decided.plan.actions,
      );
      if (decided.issues) await issue(set, cluster, observation);
      const pass: ModelPass = { set, cluster, observation, tables, memory: model };
      const started = observation.members.map((member) =>
        start(context, pass, member, decided.steps.get(member.replica.name) ?? { kind: 'none' }, seenMs),
      );
      tidyLater(context, pass);
      const busy = started.includes(true) || decided.issues;
      const { limits } = effectiveSettings(set.spec, cluster);
      const replicas = observation.members.map(({ replica }) => replica);
      return {
        status: modelStatusOf(
          input,
          withErrors({ ...decided, plan: withFailedActions(decided.plan, failures) }, model),
        ),
        failures,
        nextMs: busy ? busyMs : nextLookMs(replicas, limits, clock.monotonicMs() - lookedMs),
      };
    },
    forget: memories.forget,
  };
}

/** Members are reached as the shards are, but under the name of the read model. */
function memberAccess({ shards, access }: ModelObservation): ShardAccess | undefined {
  if (shards === undefined || access === undefined) return undefined;
  return { ...shards, asOperator: (_, address, database) => access.asOperator(address, database) };
}

/** What steps failed at is told with what is under way; what PostgreSQL refused for good is amiss. */
function withErrors(decided: ModelPlan, { errors }: ModelMemory): ModelPlan {
  const found = [...errors].map(([name, { reason, message }]) => ({
    reason,
    message: `member ${name}: ${message}`,
  }));
  return {
    ...decided,
    plan: {
      ...decided.plan,
      progress: [...found.filter(({ reason }) => reason === 'Retrying'), ...decided.plan.progress],
      failures: [...found.filter(({ reason }) => reason !== 'Retrying'), ...decided.plan.failures],
    },
  };
}
