import type { Connections } from '../../postgres/connections.ts';
import { renewMemberSlot } from '../../postgres/member-slots.ts';
import { endStaleSessions } from '../../postgres/replica-stats.ts';
import type { EventRecorder } from '../../runtime/events.ts';
import type { Expectations } from '../../runtime/expectations.ts';
import type { Informer } from '../../runtime/informer.ts';
import type { KubeClient } from '../../runtime/kube-client.ts';
import {
  type KubernetesObject,
  keyOf,
  keyString,
  type ResourceType,
  typeName,
} from '../../runtime/kubernetes-object.ts';
import { persistentVolumeClaimType, podType } from '../../runtime/kubernetes-types.ts';
import { fieldManager, shardLabel } from '../sharded-cluster/names.ts';
import type { ShardAccess } from '../sharded-cluster/shard-access.ts';
import { objectId } from '../sharded-cluster/steps/objects.ts';
import { beginWork, type WorkKind } from './member-work.ts';
import type { SetMemory } from './memory.ts';
import type { ObservedReplica, ObservedSet, ReadReplicaSet, SetAction } from './model.ts';
import { requireOwn } from './name-taken.ts';
import { rotationLabel } from './names.ts';
import { pollLimits } from './poll.ts';
import type { ReplicaSources } from './sources.ts';

/** What actions are carried out with. */
export interface SetExecution {
  readonly client: KubeClient;
  readonly replicas: ReplicaSources;
  readonly connections: Connections;
  readonly expectations: Expectations;
  readonly events: EventRecorder;
  readonly monotonicMs: () => number;
}

/** One pass: what it is about, and what it was planned on. */
export interface SetPass {
  readonly set: ReadReplicaSet;
  readonly observed: ObservedSet;
  readonly access: ShardAccess | undefined;
  readonly memory: SetMemory;
  readonly signal: AbortSignal;
}

/** A member by its name. */
interface MemberOfShard {
  readonly shard: string;
  readonly member: string;
}

/** An action that did not succeed. */
export interface SetFailure {
  readonly action: SetAction;
  readonly error: Error;
}

/**
 * Carries out the actions of a plan: rotation first, all at once; then what is applied, in order within each shard; then the rest.
 * A Service is led to others after members have joined and before any leave, so that it is not empty in between.
 */
export async function executeSet(
  context: SetExecution,
  pass: SetPass,
  actions: readonly SetAction[],
): Promise<SetFailure[]> {
  const { joins, services, leaves, applied, others } = inOrder(actions);
  const failures = await together(context, pass, joins);
  failures.push(...(await together(context, pass, services)), ...(await together(context, pass, leaves)));
  const failedToApply = await Promise.all(applied.map((ofShard) => oneByOne(context, pass, ofShard)));
  return [...failures, ...failedToApply.flat(), ...(await together(context, pass, others))];
}

/** Pods find their rights and configuration when they start, so these come before them, and are needed by them. */
async function oneByOne(
  context: SetExecution,
  pass: SetPass,
  actions: readonly SetAction[],
): Promise<SetFailure[]> {
  for (const action of actions) {
    const failed = await together(context, pass, [action]);
    if (failed.length > 0) return failed;
  }
  return [];
}

function inOrder(actions: readonly SetAction[]) {
  const isService = (action: SetAction) => action.kind === 'apply' && action.object.kind === 'Service';
  const rotations = actions.filter((action) => action.kind === 'rotate');
  return {
    joins: rotations.filter(({ rotation }) => rotation === 'in'),
    services: actions.filter(isService),
    leaves: rotations.filter(({ rotation }) => rotation !== 'in'),
    applied: byShard(actions.filter((action) => action.kind === 'apply').filter((one) => !isService(one))),
    others: actions.filter(({ kind }) => kind !== 'rotate' && kind !== 'apply'),
  };
}

/** In the order given within a shard: what one refuses keeps no other from its own. */
function byShard(actions: readonly Extract<SetAction, { kind: 'apply' }>[]): readonly SetAction[][] {
  const shardOf = ({ object }: (typeof actions)[number]) => object.metadata.labels?.[shardLabel];
  return [...new Set(actions.map(shardOf))].map((shard) =>
    actions.filter((action) => shardOf(action) === shard),
  );
}

async function together(
  context: SetExecution,
  pass: SetPass,
  actions: readonly SetAction[],
): Promise<SetFailure[]> {
  const results = await Promise.allSettled(actions.map((action) => run(context, pass, action)));
  return results.flatMap((result, index): SetFailure[] => {
    const action = actions[index];
    if (result.status === 'fulfilled' || action === undefined) return [];
    const { reason } = result;
    return [{ action, error: reason instanceof Error ? reason : new Error(String(reason)) }];
  });
}

async function run(context: SetExecution, pass: SetPass, action: SetAction): Promise<void> {
  const { client } = context;
  const { signal } = pass;
  switch (action.kind) {
    case 'apply': {
      const { type, object } = action;
      if (!pass.observed.objects.has(objectId(object)))
        await requireOwn(client, pass.set, type, object, signal);
      const written = await client.apply(type, object, { fieldManager, force: true, signal });
      return expectWritten(context, pass, type, written);
    }
    case 'delete':
      return remove(context, pass, action);
    case 'resize-claim': {
      const patch = { spec: { resources: { requests: { storage: action.size } } } };
      const key = keyOf(action.claim);
      const written = await client.patch(persistentVolumeClaimType, key, patch, { type: 'merge', signal });
      return expectWritten(context, pass, persistentVolumeClaimType, written);
    }
    case 'rotate':
      return rotate(context, pass, action);
    case 'end-sessions':
    case 'reload':
    case 'restart':
    case 'reinitialize':
      return begin(context, pass, action);
    case 'event':
      return context.events.record(pass.set, { ...action, action: 'Reconcile' });
  }
}

/** What servers and Patroni are asked to do takes its time, and no pass waits for it. */
function begin(
  context: SetExecution,
  pass: SetPass,
  action: Extract<SetAction, { readonly kind: WorkKind }>,
): void {
  const { uid, address } = podOf(pass, action);
  beginWork(pass.memory.work, uid, action.kind, context.monotonicMs, () =>
    workOn(context, pass, action, { uid, address }),
  );
}

async function workOn(
  context: SetExecution,
  pass: SetPass,
  action: Extract<SetAction, { readonly kind: WorkKind }>,
  { uid, address }: { readonly uid: string; readonly address: string },
): Promise<void> {
  const { shard, member } = action;
  switch (action.kind) {
    case 'end-sessions': {
      const options = { ...access(pass).asOperator(shard, address, 'postgres'), ...pollLimits };
      await context.connections.use(options, (connection) => endStaleSessions(connection, action));
      return;
    }
    case 'reload':
      await access(pass).patroni(shard, address, 1_000).reload();
      return;
    case 'restart':
      await access(pass).patroni(shard, address, 5_000).restart({ timeoutSeconds: 60 });
      // What was seen of it before says that it waits for a restart.
      pass.memory.groups.delete(shard);
      return record(context, pass, 'MemberRestarted', `member ${member} was restarted`);
    case 'reinitialize':
      for (const host of keepersOfWal(pass, action)) {
        const options = access(pass).asOperator(shard, host, 'postgres');
        await context.connections.use(options, (connection) => renewMemberSlot(connection, member));
      }
      await access(pass).patroni(shard, address, 5_000).reinitialize({ force: true });
      pass.memory.silent.delete(uid);
      return record(context, pass, 'MemberCopiedAnew', `member ${member} is copied anew: ${action.evidence}`);
  }
}

async function rotate(
  context: SetExecution,
  pass: SetPass,
  { pod, rotation, why }: Extract<SetAction, { kind: 'rotate' }>,
): Promise<void> {
  // With its uid the label cannot end up on a namesake made since, which is a copy under way.
  const patch = { metadata: { uid: pod.metadata.uid, labels: { [rotationLabel]: rotation } } };
  const written = await context.client.patch(podType, keyOf(pod), patch, {
    type: 'merge',
    signal: pass.signal,
  });
  expectWritten(context, pass, podType, written);
  const { name } = pod.metadata;
  if (rotation === 'in')
    record(context, pass, 'MemberJoinedRotation', `member ${name} is in rotation: ${why}`);
  else
    record(context, pass, 'MemberLeftRotation', `member ${name} left rotation: ${why}`, rotation === 'out');
}

async function remove(
  context: SetExecution,
  pass: SetPass,
  action: Extract<SetAction, { kind: 'delete' }>,
): Promise<void> {
  const { object, type, uid, evidence } = action;
  if (uid === '') throw new Error(`${object.kind} ${object.metadata.name} has no uid, so it is not deleted`);
  const options = action.orphan === true ? { propagationPolicy: 'Orphan' as const } : {};
  await context.client.delete(type, keyOf(object), { uid, signal: pass.signal, ...options });
  const informer = informerOf(context.replicas, type);
  if (informer !== undefined) context.expectations.expectDeleted(ownerOf(pass), informer.cache, object);
  record(
    context,
    pass,
    `${object.kind}Deleted`,
    `${object.kind} ${object.metadata.name} was deleted: ${evidence}`,
  );
}

function access({ access: given }: SetPass): ShardAccess {
  if (given === undefined) throw new Error("the operator's certificate is not there yet");
  return given;
}

function primaryOf({ observed }: SetPass, name: string): string {
  const primary = observed.shards.find((shard) => shard.name === name)?.primary;
  if (primary?.state !== 'present') throw new Error(`shard ${name} has no primary that answers`);
  return primary.value.address;
}

/** Addresses of the servers from which a member may stream by its slot. */
function keepersOfWal(pass: SetPass, target: MemberOfShard): ReadonlySet<string> {
  const upstream = memberOf(pass, target)?.streamsFrom;
  return new Set([primaryOf(pass, target.shard), ...(upstream === undefined ? [] : [upstream.address])]);
}

function memberOf({ observed }: SetPass, target: MemberOfShard): ObservedReplica | undefined {
  const shard = observed.shards.find(({ name }) => name === target.shard);
  return shard?.members.find(({ name }) => name === target.member);
}

function podOf(pass: SetPass, target: MemberOfShard): { readonly uid: string; readonly address: string } {
  const pod = memberOf(pass, target)?.pod;
  const uid = pod?.metadata.uid;
  const address = pod?.status?.podIP;
  if (uid === undefined || address === undefined) throw new Error(`member ${target.member} has no address`);
  return { uid, address };
}

/** Who waits for writes of a pass to be seen. */
export function ownerOf({ set }: Pick<SetPass, 'set'>): string {
  return keyString(set.metadata);
}

function expectWritten(
  context: SetExecution,
  pass: SetPass,
  type: ResourceType,
  written: KubernetesObject,
): void {
  const informer = informerOf(context.replicas, type);
  if (informer !== undefined) context.expectations.expectWritten(ownerOf(pass), informer.cache, written);
}

function informerOf(replicas: ReplicaSources, type: ResourceType): Informer<KubernetesObject> | undefined {
  const { plain, statefulSets, pods, claims } = replicas;
  return [...plain, statefulSets, pods, claims].find(
    (informer) => typeName(informer.type) === typeName(type),
  ) as Informer<KubernetesObject> | undefined;
}

function record(
  context: SetExecution,
  { set }: SetPass,
  reason: string,
  note: string,
  isWarning = false,
): void {
  context.events.record(set, { type: isWarning ? 'Warning' : 'Normal', reason, action: 'Reconcile', note });
}
