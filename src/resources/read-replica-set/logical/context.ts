import type { ShardMapSpec } from '../../../api/v1alpha1/shard-map.ts';
import type { Connection } from '../../../postgres/connection.ts';
import type { Connections } from '../../../postgres/connections.ts';
import type { ModelFacts } from '../../../postgres/read-model/subscriber.ts';
import type { EventRecorder } from '../../../runtime/events.ts';
import type { KubeClient } from '../../../runtime/kube-client.ts';
import { shardMapType } from '../../sharded-cluster/kinds.ts';
import type { ShardedCluster, ShardMapObject } from '../../sharded-cluster/model.ts';
import { shardMapName } from '../../sharded-cluster/names.ts';
import type { ReadReplicaSet } from '../model.ts';
import type { ModelMemory } from './memory.ts';
import type { ModelMember, ModelSource, ModelWorld } from './model.ts';
import type { ModelObservation } from './observe.ts';

/** What steps are carried out with. */
export interface ModelExecution {
  readonly client: Pick<KubeClient, 'get'>;
  readonly connections: Connections;
  readonly events: Pick<EventRecorder, 'record'>;
  /** How a read model reaches one pod of a shard: parameters of libpq, without user and password. */
  readonly addressOf: (
    cluster: ShardedCluster,
    shard: string,
    member: string,
  ) => Readonly<Record<string, string>>;
}

/** One pass over a read model: what it is about, and what it was planned on. */
export interface ModelPass {
  readonly set: ReadReplicaSet;
  readonly cluster: ShardedCluster;
  readonly observation: Pick<
    ModelObservation,
    'sources' | 'leaving' | 'members' | 'logins' | 'shards' | 'access'
  >;
  readonly tables: ModelWorld['tables'];
  readonly memory: ModelMemory;
}

/** A step that was refused, in a word for programs. */
export class StepRefused extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** What a member says of itself; throws when it does not answer. */
export function factsOf({ facts, replica }: ModelMember): ModelFacts {
  if (facts.state !== 'present') throw new Error(`member ${replica.name} does not answer`);
  return facts.value;
}

/** The copy of a member; throws when it has none. */
export function copyOf(member: ModelMember): NonNullable<ModelFacts['copy']> {
  const { copy } = factsOf(member);
  if (copy === undefined) throw new Error(`member ${member.replica.name} has no copy`);
  return copy;
}

/** A shard that is followed. */
export function sourceOf({ observation }: ModelPass, shard: string): ModelSource {
  const source = observation.sources.find((candidate) => candidate.shard === shard);
  if (source === undefined) throw new Error(`there is no shard ${shard}`);
  return source;
}

/** The ShardMap as the API server has it now. */
export async function freshMap({ client }: ModelExecution, { set }: ModelPass): Promise<ShardMapSpec> {
  const key = { namespace: set.metadata.namespace, name: shardMapName(set.spec.cluster) };
  const map = await client.get<ShardMapObject>(shardMapType, key, { timeoutMs: 5_000 });
  if (map === undefined) throw new Error('the ShardMap is not there');
  return map.spec;
}

/** All buckets of a map. */
export function bucketsOf(map: ShardMapSpec) {
  return map.groups.flatMap(({ buckets }) => buckets);
}

/** Whether a bucket may get another owner now. */
export function isMoving(map: ShardMapSpec): boolean {
  return bucketsOf(map).some(({ pending }) => pending !== undefined);
}

/** Lends a session of the operator on a member. */
export function onMember<T>(
  { connections }: ModelExecution,
  { observation, cluster }: ModelPass,
  { replica }: ModelMember,
  work: (connection: Connection) => Promise<T>,
  database = cluster.spec.postgres.database,
): Promise<T> {
  const address = replica.pod?.status?.podIP;
  if (observation.access === undefined || address === undefined)
    return Promise.reject(new Error(`member ${replica.name} cannot be reached`));
  return connections.use(observation.access.asOperator(address, database), work);
}

/** Lends a session of the operator on the primary of a shard. */
export function onSource<T>(
  { connections }: ModelExecution,
  { observation, cluster }: ModelPass,
  { shard, address }: ModelSource,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  if (observation.shards === undefined || address === undefined)
    return Promise.reject(new Error(`the primary of shard ${shard} cannot be reached`));
  const { database } = cluster.spec.postgres;
  return connections.use(observation.shards.asOperator(shard, address, database), work);
}

/** An event about the set. */
export function tell(
  { events }: ModelExecution,
  { set }: ModelPass,
  type: 'Normal' | 'Warning',
  reason: string,
  note: string,
): void {
  events.record(set, { type, reason, action: 'Reconcile', note });
}
