import type { ReadReplicaSetSpec } from '../../../api/v1alpha1/read-replica-set.ts';
import type { ReadReplicaSet } from '../../read-replica-set/model.ts';
import { replicaOrdinal, replicaPod, replicasName } from '../../read-replica-set/names.ts';
import { readWriteService } from '../../sharded-cluster/names.ts';

/** A server behind Pgpool-II. */
export interface Backend {
  /** Pod of the member, or Service of the primary. */
  readonly name: string;
  /** Short host name, which is found by the pod's search list: Pgpool-II takes 127 characters at most. */
  readonly host: string;
  readonly weight: number;
  /** Why it has no weight. */
  readonly reason: string | undefined;
}

/** A set that is read, with its weight. */
export interface ReadSet {
  readonly set: ReadReplicaSet & { readonly spec: ReadReplicaSetSpec };
  readonly weight: number;
}

/** Most servers that Pgpool-II can have. */
const maxBackends = 128;

/**
 * How many members of each set instances know, in or out of rotation. A host that is added or taken away takes a new process, a
 * host that is not there costs nothing; so there is one for each member that autoscaling may make, and none goes away.
 */
export function slotsOf(
  sets: readonly ReadSet[],
  shard: string,
  before: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    sets.map(({ set }) => {
      const { name } = set.metadata;
      const ordinals = membersOf(set, shard).map((member) => replicaOrdinal(name, shard, member.name) ?? 0);
      const slots = Math.max(
        before[name] ?? 0,
        set.spec.autoscaling?.maxReplicas ?? set.spec.replicas,
        ...ordinals.map((ordinal) => ordinal + 1),
      );
      return [name, slots];
    }),
  );
}

/** Why so many servers cannot be; `undefined` if they can. */
export function slotsProblem(slots: Readonly<Record<string, number>>): string | undefined {
  const total = 1 + Object.values(slots).reduce((sum, count) => sum + count, 0);
  if (total <= maxBackends) return undefined;
  return `the ReadReplicaSets may have ${total - 1} members in the shard, and Pgpool-II takes ${maxBackends - 1}: name fewer in spec.pgpool.readReplicaSets`;
}

/**
 * The primary first, then the members. Only members in rotation have a weight; when nobody has one, the primary gets it.
 */
export function backendsOf(input: {
  readonly cluster: string;
  readonly shard: string;
  readonly primaryWeight: number;
  readonly sets: readonly ReadSet[];
  readonly slots: Readonly<Record<string, number>>;
}): Backend[] {
  const { cluster, shard, sets, slots } = input;
  const members = sets.flatMap(({ set, weight }) => {
    const { name } = set.metadata;
    const known = membersOf(set, shard);
    return Array.from({ length: slots[name] ?? 0 }, (_, ordinal): Backend => {
      const pod = replicaPod(name, shard, ordinal);
      const reason = reasonOf(known.find((member) => member.name === pod));
      return {
        name: pod,
        host: `${pod}.${replicasName(name, shard)}`,
        weight: reason === undefined ? weight : 0,
        reason,
      };
    });
  });
  const isAlone = members.every((member) => member.weight === 0);
  const service = readWriteService(cluster, shard);
  return [
    {
      name: service,
      host: service,
      weight: isAlone ? Math.max(1, input.primaryWeight) : input.primaryWeight,
      reason: undefined,
    },
    ...members,
  ];
}

type Member = NonNullable<NonNullable<ReadReplicaSet['status']>['shards']>[number]['members'][number];

function membersOf(set: ReadReplicaSet, shard: string): readonly Member[] {
  return set.status?.shards?.find((candidate) => candidate.name === shard)?.members ?? [];
}

function reasonOf(member: Member | undefined): string | undefined {
  if (member === undefined) return 'it is not there';
  if (!member.ready) return 'it is not ready';
  if (member.rotation === 'in') return undefined;
  return (
    member.reason ?? `it is ${member.rotation === 'draining' ? 'about to be stopped' : 'out of rotation'}`
  );
}
