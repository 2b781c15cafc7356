import type { z } from 'zod';
import { apiVersion, group, version } from '../../src/api/v1alpha1/common.ts';
import type { ShardMapSpec } from '../../src/api/v1alpha1/shard-map.ts';
import type { ShardedClusterStatus, shardedClusterSpec } from '../../src/api/v1alpha1/sharded-cluster.ts';
import type { Condition, KubernetesObject, ResourceType } from '../../src/runtime/kubernetes-object.ts';
import { eventType, podType } from '../../src/runtime/kubernetes-types.ts';
import { kube } from './cluster.ts';
import { type WaitOptions, waitFor } from './wait.ts';

/** `ShardedCluster` for the client. */
export const shardedClusterType: ResourceType = {
  group,
  version,
  plural: 'shardedclusters',
  kind: 'ShardedCluster',
  namespaced: true,
};

/** `ShardMap` for the client. */
export const shardMapType: ResourceType = {
  group,
  version,
  plural: 'shardmaps',
  kind: 'ShardMap',
  namespaced: true,
};

/** What a user writes under `spec`. */
export type SpecInput = z.input<typeof shardedClusterSpec>;

/** A ShardedCluster as the API server sends it. */
export interface ShardedCluster extends KubernetesObject {
  spec: SpecInput;
  status?: ShardedClusterStatus;
}

/** A ShardMap as the API server sends it. */
export interface ShardMap extends KubernetesObject {
  spec: ShardMapSpec;
}

/** A pod, as far as tests look at it. */
export interface MemberPod extends KubernetesObject {
  spec?: { nodeName?: string; containers?: { name: string; resources?: unknown; image?: string }[] };
  status?: {
    podIP?: string;
    conditions?: { type: string; status: string }[];
    containerStatuses?: { restartCount: number; ready: boolean }[];
  };
}

/** An Event, as far as tests look at it. */
export interface EventObject extends KubernetesObject {
  type?: string;
  reason?: string;
  message?: string;
  involvedObject?: { kind?: string; name?: string };
}

/** Where a test's cluster is. */
export interface ClusterKey {
  readonly namespace: string;
  readonly name: string;
}

/** The least a shard needs to run, so that many fit on a small machine. */
const small: SpecInput = {
  members: 1,
  resources: { requests: { cpu: '20m', memory: '128Mi' }, limits: { memory: '512Mi' } },
  storage: { size: '1Gi' },
};

/** Creates or changes a ShardedCluster as a user would, by server-side apply; one small member unless the spec says more. */
export async function applyCluster(key: ClusterKey, spec: Partial<SpecInput> = {}): Promise<ShardedCluster> {
  const object: ShardedCluster = {
    apiVersion,
    kind: 'ShardedCluster',
    metadata: { ...key },
    spec: { ...small, ...spec },
  };
  return (await kube()).apply(shardedClusterType, object, { fieldManager: 'user', force: true });
}

/** Reads the ShardedCluster; throws when it is not there. */
export async function readCluster(key: ClusterKey): Promise<ShardedCluster> {
  const found = await (await kube()).get<ShardedCluster>(shardedClusterType, key);
  if (found === undefined) throw new Error(`ShardedCluster ${key.namespace}/${key.name} is not there`);
  return found;
}

type StatusCondition = NonNullable<ShardedClusterStatus['conditions']>[number];

/** A condition of the status, if it is there. */
export function conditionOf(cluster: ShardedCluster, type: string): StatusCondition | undefined {
  return cluster.status?.conditions?.find((condition) => condition.type === type);
}

/** Waits until a condition of the present generation has the status, and the reason and message match where given. */
export async function waitForCondition(
  key: ClusterKey,
  wanted: { type: string; status: Condition['status']; reason?: string | RegExp; message?: RegExp },
  options?: WaitOptions,
): Promise<ShardedCluster> {
  const description = `${key.namespace}/${key.name} ${wanted.type}=${wanted.status} ${wanted.reason ?? ''} ${wanted.message ?? ''}`;
  return waitFor(
    description.trim(),
    async () => {
      const cluster = await readCluster(key);
      const condition = conditionOf(cluster, wanted.type);
      const matches =
        condition?.status === wanted.status &&
        cluster.status?.observedGeneration === cluster.metadata.generation &&
        (wanted.reason === undefined || new RegExp(wanted.reason).test(condition.reason)) &&
        (wanted.message === undefined || wanted.message.test(condition.message));
      return matches ? { done: cluster } : { state: cluster.status };
    },
    options,
  );
}

/** Waits until the cluster is Ready and nothing is in progress for its present spec. */
export async function waitUntilReady(key: ClusterKey, options?: WaitOptions): Promise<ShardedCluster> {
  return waitFor(
    `${key.namespace}/${key.name} is Ready`,
    async () => {
      const cluster = await readCluster(key);
      const { status } = cluster;
      const ready = conditionOf(cluster, 'Ready')?.status === 'True';
      const progressing = conditionOf(cluster, 'Progressing')?.status === 'True';
      const isCurrent = status?.observedGeneration === cluster.metadata.generation;
      const hasAllMembers = status?.members !== undefined && status.members.ready === status.members.desired;
      return ready && !progressing && isCurrent && hasAllMembers ? { done: cluster } : { state: status };
    },
    options,
  );
}

/** The pods of a cluster, or of one of its shards, by name. */
export async function memberPods(key: ClusterKey, shard?: string): Promise<MemberPod[]> {
  const labels = [
    `herdsman.dev/cluster=${key.name}`,
    'herdsman.dev/component=member',
    ...(shard === undefined ? [] : [`herdsman.dev/shard=${shard}`]),
  ];
  const { items } = await (await kube()).list<MemberPod>(podType, {
    namespace: key.namespace,
    labelSelector: labels.join(','),
  });
  return items.toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
}

/** Whether Kubernetes calls the pod ready, and nobody has asked it to go. */
export function isReady({ metadata, status }: MemberPod): boolean {
  return (
    metadata.deletionTimestamp === undefined &&
    status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true
  );
}

/** The pod that Patroni has labelled primary; waits for exactly one. */
export async function primaryPod(key: ClusterKey, shard = 's0'): Promise<MemberPod> {
  return waitFor(`${key.name}-${shard} has one primary`, async () => {
    const pods = await memberPods(key, shard);
    const primaries = pods.filter((pod) => pod.metadata.labels?.['herdsman.dev/role'] === 'primary');
    const [primary] = primaries;
    if (primary !== undefined && primaries.length === 1) return { done: primary };
    return { state: pods.map((pod) => [pod.metadata.name, pod.metadata.labels?.['herdsman.dev/role']]) };
  });
}

/** Waits until a shard has another primary than this pod. */
export async function waitForAnotherPrimary(key: ClusterKey, before: MemberPod, shard = 's0'): Promise<void> {
  await waitFor(`${key.name}-${shard} has another primary than ${before.metadata.name}`, async () => {
    const { metadata } = await primaryPod(key, shard);
    return metadata.uid === before.metadata.uid ? { state: metadata.name } : { done: true };
  });
}

/** The events about the ShardedCluster. */
export async function eventsOf(key: ClusterKey): Promise<EventObject[]> {
  const { items } = await (await kube()).list<EventObject>(eventType, {
    namespace: key.namespace,
    fieldSelector: `involvedObject.kind=ShardedCluster,involvedObject.name=${key.name}`,
  });
  return items;
}

/** Waits for an event about the ShardedCluster whose reason or message matches. */
export async function waitForEvent(key: ClusterKey, pattern: RegExp): Promise<EventObject> {
  return waitFor(`an event like ${pattern} about ${key.name}`, async () => {
    const events = await eventsOf(key);
    const found = events.find((event) => pattern.test(`${event.reason} ${event.message}`));
    return found === undefined
      ? { state: events.map(({ reason, message }) => `${reason}: ${message}`) }
      : { done: found };
  });
}
