import type { Connections } from '../../postgres/connections.ts';
import { isConflict } from '../../runtime/api-error.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { Expectations } from '../../runtime/expectations.ts';
import type { Informer } from '../../runtime/informer.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import type { KubernetesObject, ResourceType } from '../../runtime/kubernetes-object.ts';
import { typeName } from '../../runtime/kubernetes-object.ts';
import { persistentVolumeClaimType, podType } from '../../runtime/kubernetes-types.ts';
import { shardMapObject } from './desired/shard-map.ts';
import { executeContent } from './execute-content.ts';
import { executeIdentity } from './execute-identity.ts';
import { executeMembers, whileMemberGoes } from './execute-members.ts';
import { needs, stagesOf } from './execution-order.ts';
import type { ActionFailure } from './failure.ts';
import { shardMapType } from './kinds.ts';
import type { LongWork } from './long-work.ts';
import { requireMapVersion } from './map-version.ts';
import type { Action, Observed, ShardedCluster, ShardMapObject } from './model.ts';
import type { NamedReader } from './named-reader.ts';
import { fieldManager, roleLabel } from './names.ts';
import type { SecretObject } from './observe.ts';
import type { PoolerGate } from './pooler-gate.ts';
import type { ShardAccess } from './shard-access.ts';
import type { Sources } from './sources.ts';

/** What actions are carried out with. */
export interface ExecutionContext {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly connections: Connections;
  readonly secrets: NamedReader<SecretObject>;
  readonly expectations: Expectations;
  readonly events: EventRecorder;
  /** What makes clients of poolers wait while a primary changes. */
  readonly gate: PoolerGate;
  readonly now: () => Date;
}

/** One pass: what it is about, and what it was planned on. */
export interface Pass {
  readonly cluster: ShardedCluster;
  readonly observed: Observed;
  readonly access: ShardAccess | undefined;
  /** `namespace/name`, the owner of expectations. */
  readonly owner: string;
  readonly signal: AbortSignal;
  /** Aborts with leadership, and not when the pass takes long: for SQL. */
  readonly leading: AbortSignal;
  /** Notes that a shard was set up as it was observed. */
  readonly noteSetUp: (shard: string) => void;
  readonly longWork: LongWork;
}

/** Carries out the actions of a plan, stage by stage; what needs an action that failed is left to the next pass. */
export async function execute(
  context: ExecutionContext,
  pass: Pass,
  actions: readonly Action[],
): Promise<ActionFailure[]> {
  const failures: ActionFailure[] = [];
  for (const stage of stagesOf(actions)) {
    const possible = stage.filter((action) => !failures.some((failure) => needs(action, failure.action)));
    const results = await Promise.allSettled(possible.map((action) => run(context, pass, action)));
    failures.push(
      ...results.flatMap((result, index): ActionFailure[] => {
        const action = possible[index];
        if (result.status === 'fulfilled' || action === undefined) return [];
        const { reason } = result;
        return [{ action, error: reason instanceof Error ? reason : new Error(String(reason)) }];
      }),
    );
  }
  return failures;
}

async function run(context: ExecutionContext, pass: Pass, action: Action): Promise<void> {
  switch (action.kind) {
    case 'create-authority':
    case 'rotate-authority':
    case 'issue-shard':
    case 'issue-operator':
    case 'generate-login':
    case 'write-secret':
      return executeIdentity(context, pass, action);
    case 'set-up-database':
    case 'migrate':
    case 'sql':
    case 'copy-references':
      return executeContent(context, pass, action);
    case 'patch-config':
    case 'restart':
    case 'reinitialize':
    case 'switchover':
    case 'reload':
    case 'clear-claim':
      return executeMembers(context, pass, action);
    case 'apply':
      return apply(context, pass, action.type, action.object);
    case 'delete':
      return whileMemberGoes(context, pass, action.uid, () => remove(context, pass, action));
    case 'relabel':
      return relabel(context, pass, action);
    case 'resize-claim':
      return resize(context, pass, action);
    case 'create-map': {
      const map = await context.client.create(shardMapType, shardMapObject(pass.cluster, action.spec), {
        signal: pass.signal,
      });
      return expectWritten(context, pass, shardMapType, map);
    }
    case 'update-map':
      return updateMap(context, pass, action);
    case 'event':
      return context.events.record(pass.cluster, {
        type: action.type,
        reason: action.reason,
        action: 'Reconcile',
        note: action.note,
      });
  }
}

/** With its resourceVersion each change is a compare-and-swap: whoever changed the map meanwhile wins. */
async function updateMap(
  context: ExecutionContext,
  pass: Pass,
  { map, spec, next }: Extract<Action, { kind: 'update-map' }>,
): Promise<void> {
  const write = async (changed: ShardMapObject) => {
    const written = await context.client.update(shardMapType, changed, { signal: pass.signal });
    expectWritten(context, pass, shardMapType, written);
    return written;
  };
  const first = await write({ ...map, spec });
  if (next === undefined) return;
  try {
    await write({ ...first, spec: next });
  } catch (error) {
    // The next pass sees what is left to be done.
    if (!isConflict(error)) throw error;
  }
}

async function apply(
  context: ExecutionContext,
  pass: Pass,
  type: ResourceType,
  object: KubernetesObject,
): Promise<void> {
  const written = await context.client.apply(type, object, {
    fieldManager,
    force: true,
    signal: pass.signal,
  });
  expectWritten(context, pass, type, written);
}

async function remove(
  context: ExecutionContext,
  pass: Pass,
  action: Extract<Action, { kind: 'delete' }>,
): Promise<void> {
  const { object, type, uid, evidence } = action;
  const { name, namespace = '' } = object.metadata;
  if (uid === '') throw new Error(`${object.kind} ${name} has no uid, so it is not deleted`);
  if (action.mapVersion !== undefined)
    await requireMapVersion(context.client, pass.cluster, action.mapVersion, pass.signal);
  await context.client.delete(
    type,
    { namespace, name },
    {
      uid,
      signal: pass.signal,
      ...(action.orphan === true ? { propagationPolicy: 'Orphan' as const } : {}),
    },
  );
  const informer = informerOf(context.sources, type);
  if (informer !== undefined) context.expectations.expectDeleted(pass.owner, informer.cache, object);
  context.events.record(pass.cluster, {
    type: 'Normal',
    reason: `${object.kind}Deleted`,
    action: 'Delete',
    note: `${object.kind} ${name} was deleted: ${evidence}`,
  });
}

/** Only the very pod that was judged: with its resourceVersion, a label that the member has just set itself stays. */
async function relabel(
  context: ExecutionContext,
  pass: Pass,
  { shard, pod, leader }: Extract<Action, { kind: 'relabel' }>,
): Promise<void> {
  const { name, namespace = '', uid, resourceVersion } = pod.metadata;
  const patch = { metadata: { uid, resourceVersion, labels: { [roleLabel]: 'replica' } } };
  await context.client.patch(podType, { namespace, name }, patch, { type: 'merge', signal: pass.signal });
  context.events.record(pass.cluster, {
    type: 'Normal',
    reason: 'PrimaryReplaced',
    action: 'Relabel',
    note: `shard ${shard}: ${leader} leads, so ${name} has left the -rw Service`,
  });
}

async function resize(
  context: ExecutionContext,
  pass: Pass,
  action: Extract<Action, { kind: 'resize-claim' }>,
): Promise<void> {
  const { name, namespace = '' } = action.claim.metadata;
  const patch = { spec: { resources: { requests: { storage: action.size } } } };
  const written = await context.client.patch(persistentVolumeClaimType, { namespace, name }, patch, {
    type: 'merge',
    signal: pass.signal,
  });
  expectWritten(context, pass, persistentVolumeClaimType, written);
}

function expectWritten(
  context: ExecutionContext,
  pass: Pass,
  type: ResourceType,
  written: KubernetesObject,
): void {
  const informer = informerOf(context.sources, type);
  if (informer !== undefined) context.expectations.expectWritten(pass.owner, informer.cache, written);
}

function informerOf(sources: Sources, type: ResourceType): Informer<KubernetesObject> | undefined {
  const informers: readonly Informer<KubernetesObject>[] = [...sources.plain];
  const known = [sources.maps, sources.statefulSets, sources.pods, sources.claims];
  return [...informers, ...known].find((informer) => typeName(informer.type) === typeName(type)) as
    | Informer<KubernetesObject>
    | undefined;
}
